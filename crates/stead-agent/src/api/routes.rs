//! The one table of routes.

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get, post, put};
use schemars::{Schema, SchemaGenerator};
use stead_wire::api::{
    Act, Acted, EventLine, Host, LogLine, PlanPut, PlanState, Refusal, Status, UNKNOWN_PATH, Why,
};
use stead_wire::rollout::{History, RolloutAsk, RolloutState};

use super::answers;
use super::refused::Refused;
use super::serve::Api;

pub(super) const DOWN: &str = "/v1/down";

/// The schema of a type, as a reference once the generator has it.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One thing that can be asked.
pub(super) struct Route {
    pub(super) method: &'static str,
    /// As axum and OpenAPI both write it.
    pub(super) path: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    pub(super) body: Option<SchemaOf>,
    pub(super) gives: Gives,
    /// Refusals beyond 400, 403 and 408, which any request may get.
    pub(super) refusals: &'static [(u16, &'static str)],
    answer: fn() -> MethodRouter<Api>,
}

/// What an answer is.
pub(super) enum Gives {
    Any,
    Json(SchemaOf),
    /// Newline-delimited JSON.
    Lines(SchemaOf),
}

/// A parameter in the path or the query.
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) kind: &'static str,
    pub(super) what: &'static str,
}

const fn query(name: &'static str, kind: &'static str, what: &'static str) -> Parameter {
    Parameter { name, place: "query", kind, what }
}

const NAME: Parameter =
    query("name", "string", "services or instances; repeated or with commas between; else all");
const SINCE: Parameter =
    query("since", "string", "from then on: RFC 3339, `10m` ago, or microseconds since 1970");
const FOLLOW: Parameter = query("follow", "boolean", "go on with what happens from now on");

/// Everything that can be asked.
pub(super) const ROUTES: [Route; 13] = [
    Route {
        method: "get",
        path: "/v1/host",
        summary: "What this host has, and which limits it can keep",
        parameters: &[],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<Host>),
        refusals: &[],
        answer: || get(answers::host),
    },
    Route {
        method: "get",
        path: "/v1/status",
        summary: "Every instance with its phase, and the agent itself",
        parameters: &[],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<Status>),
        refusals: &[],
        answer: || get(answers::status),
    },
    Route {
        method: "get",
        path: "/v1/plan",
        summary: "The plan that the agent obeys",
        parameters: &[],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<PlanState>),
        refusals: &[],
        answer: || get(answers::plan),
    },
    Route {
        method: "put",
        path: "/v1/plan",
        summary: "Replace the plan; answered once it is on disk",
        parameters: &[],
        body: Some(SchemaGenerator::subschema_for::<PlanPut>),
        gives: Gives::Json(SchemaGenerator::subschema_for::<PlanState>),
        refusals: &[
            (409, "it replaces another generation than the one that is there"),
            (413, "the body is too long"),
            (422, "it can never be carried out"),
            (507, "the disk did not take it"),
        ],
        answer: || put(answers::put_plan),
    },
    Route {
        method: "get",
        path: "/v1/rollout",
        summary: "The rollout that is under way, or was the last",
        parameters: &[],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<RolloutState>),
        refusals: &[],
        answer: || get(answers::rollout),
    },
    Route {
        method: "post",
        path: "/v1/rollout",
        summary: "Claim the host for a rollout, stage, switch, keep, commit or revert it",
        parameters: &[],
        body: Some(SchemaGenerator::subschema_for::<RolloutAsk>),
        gives: Gives::Json(SchemaGenerator::subschema_for::<RolloutState>),
        refusals: &[
            (409, "another rollout is in the way, or it is not the time for it"),
            (413, "the body is too long"),
            (422, "the plan can never be carried out"),
            (507, "the disk did not take it"),
        ],
        answer: || post(answers::ask_rollout),
    },
    Route {
        method: "get",
        path: "/v1/history",
        summary: "What this host was made to run, by whom",
        parameters: &[query("n", "integer", "the entry that is given with its plan")],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<History>),
        refusals: &[(507, "the disk cannot be read")],
        answer: || get(answers::history),
    },
    Route {
        method: "post",
        path: "/v1/act",
        summary: "Start, stop, restart or signal instances",
        parameters: &[],
        body: Some(SchemaGenerator::subschema_for::<Act>),
        gives: Gives::Json(SchemaGenerator::subschema_for::<Acted>),
        refusals: &[(413, "the body is too long")],
        answer: || post(answers::act),
    },
    Route {
        method: "get",
        path: "/v1/logs",
        summary: "What instances wrote, by time",
        parameters: &[
            NAME,
            SINCE,
            query("until", "string", "before then, as `since`"),
            query("grep", "string", "only lines that match this regular expression"),
            query("stream", "string", "`out` or `err`; else both"),
            query("last", "integer", "of the lines that are there, the last ones"),
            FOLLOW,
        ],
        body: None,
        gives: Gives::Lines(SchemaGenerator::subschema_for::<LogLine>),
        refusals: &[(404, "there is no such instance"), (503, "too many are reading")],
        answer: || get(answers::logs),
    },
    Route {
        method: "get",
        path: "/v1/events",
        summary: "What happened, by time",
        parameters: &[
            NAME,
            SINCE,
            query("limit", "integer", "of the events that are there, the last ones"),
            FOLLOW,
        ],
        body: None,
        gives: Gives::Lines(SchemaGenerator::subschema_for::<EventLine>),
        refusals: &[(404, "there is no such instance"), (503, "too many are reading")],
        answer: || get(answers::events),
    },
    Route {
        method: "get",
        path: "/v1/why/{name}",
        summary: "Why an instance is in the phase it is in",
        parameters: &[Parameter {
            name: "name",
            place: "path",
            kind: "string",
            what: "an instance, like `orders.0`",
        }],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<Why>),
        refusals: &[(404, "there is no such instance")],
        answer: || get(answers::why),
    },
    Route {
        method: "post",
        path: DOWN,
        summary: "Stop everything, what needs others first; answered when all is down",
        parameters: &[query("wait", "boolean", "`false`: answer at once and go on stopping")],
        body: None,
        gives: Gives::Json(SchemaGenerator::subschema_for::<PlanState>),
        refusals: &[(504, "not everything has ended in time")],
        answer: || post(answers::down),
    },
    Route {
        method: "get",
        path: "/v1/openapi.json",
        summary: "This description",
        parameters: &[],
        body: None,
        gives: Gives::Any,
        refusals: &[],
        answer: || get(answers::openapi),
    },
];

/// Routes of the same path become one: axum joins their methods.
pub(super) fn router(api: Api) -> Router {
    let mut router = Router::new();
    for route in ROUTES {
        router = router.route(route.path, (route.answer)());
    }
    let nothing = || async {
        let try_this = "`/v1/openapi.json` describes everything there is";
        Refused::of(StatusCode::NOT_FOUND, "there is no such thing", UNKNOWN_PATH, try_this)
    };
    let not_so = || async {
        let try_this = "`/v1/openapi.json` tells what each path takes";
        let because = "the path does not take this method";
        Refused::of(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done", because, try_this)
    };
    router.fallback(nothing).method_not_allowed_fallback(not_so).with_state(api)
}

/// The schema of what every refusal says.
pub(super) const REFUSAL: SchemaOf = SchemaGenerator::subschema_for::<Refusal>;
