//! The OpenAPI description, made from the table of routes and the wire types.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::routes::{Gives, Parameter, REFUSAL, ROUTES, Route};

/// Refusals that any request may get.
const REFUSALS_ANY: [(u16, &str); 3] = [
    (400, "the request was not understood"),
    (403, "this is not for you to do"),
    (408, "the request was given up"),
];

/// The agent's API as OpenAPI 3.1.
pub(crate) fn openapi() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut schemas = settings.into_generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for route in &ROUTES {
        let operation = operation(route, &mut schemas);
        paths.entry(route.path).or_default().insert(route.method.into(), operation);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "stead agent",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Spoken over the Unix socket `agent.sock` below the agent's root.",
        },
        "paths": paths,
        "components": { "schemas": schemas.take_definitions(true) },
    })
}

fn operation(route: &Route, schemas: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    let content = match &route.gives {
        Gives::Any => json!({ "application/json": {} }),
        Gives::Json(schema) => json!({ "application/json": { "schema": schema(schemas) } }),
        Gives::Lines(schema) => json!({ "application/x-ndjson": { "schema": schema(schemas) } }),
    };
    responses.insert("200".into(), json!({ "description": route.summary, "content": content }));
    let refusal = REFUSAL(schemas);
    for (status, why) in REFUSALS_ANY.iter().chain(route.refusals) {
        let content = json!({ "application/json": { "schema": refusal } });
        responses.insert(status.to_string(), json!({ "description": why, "content": content }));
    }
    let mut operation = json!({
        "summary": route.summary,
        "parameters": route.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": responses,
    });
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": body(schemas) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    json!({
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.what,
        "schema": { "type": parameter.kind },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                let reference = map.get("$ref").and_then(Value::as_str);
                found.extend(reference.map(ToOwned::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (),
        }
    }

    #[test]
    fn every_route_is_described_and_every_reference_leads_somewhere() {
        let description = openapi();
        for route in &ROUTES {
            let operation = &description["paths"][route.path][route.method];
            assert!(operation["summary"].is_string(), "{} {}", route.method, route.path);
        }
        let mut found = Vec::new();
        references(&description, &mut found);
        assert!(found.len() > ROUTES.len());
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(description.pointer(pointer).is_some(), "{reference}");
        }
    }
}
