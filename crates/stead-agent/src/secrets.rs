//! The values that plans name and do not hold.

use stead_core::plan::Plan;
use stead_wire::api::Refusal;

use crate::layout::Layout;

/// Why a plan is not to be taken whose secrets are not here. Reads folders.
pub(crate) fn lacking(layout: &Layout, plan: &Plan) -> Option<Refusal> {
    let secrets = plan.instances.values().flat_map(|spec| spec.secrets.values());
    let folder = layout.secrets();
    let missing = secrets.filter(|secret| !folder.join(secret.id.as_str()).is_file());
    let name = missing.map(|secret| &secret.name).next()?;
    Some(Refusal {
        what: "the plan was not taken".into(),
        because: format!("the value of the secret `{name}` is not on this host"),
        try_this: "`stead deploy`, or `stead up`, which bring it along".into(),
    })
}
