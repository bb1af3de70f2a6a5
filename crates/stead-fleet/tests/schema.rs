//! The JSON schema and the reader say the same.

use serde_json::Value;
use stead_fleet::{Fleet, schema};

/// Every field of a schema with the path of its table; made-up names are `NAME`.
fn fields(schema: &Value, path: &str, out: &mut Vec<(String, String)>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        out.push((path.to_owned(), name.clone()));
        fields(field, &format!("{path}.{name}"), out);
    }
    if schema["additionalProperties"].is_object() {
        fields(&schema["additionalProperties"], &format!("{path}.name"), out);
    }
    for branch in schema["oneOf"].as_array().into_iter().flatten() {
        fields(branch, path, out);
    }
}

fn whats(text: &str) -> Vec<String> {
    let problems = Fleet::parse(text).err();
    problems.iter().flat_map(|problems| problems.iter().map(|p| p.what.clone())).collect()
}

#[test]
fn each_field_of_the_schema_is_read_and_no_other() {
    let mut all = Vec::new();
    fields(&schema(), "", &mut all);
    assert!(all.len() >= 60, "{}", all.len());
    for (path, name) in all {
        let table = path.trim_start_matches('.');
        let dotted = |name: &str| match table {
            "" => format!("{name} = 1979-05-27"),
            _ => format!("{table}.{name} = 1979-05-27"),
        };
        let known = dotted(&name);
        let found = whats(&known);
        let refused = format!("`{}` may not be", known.split(" =").next().unwrap_or(""));
        assert!(found.iter().any(|what| what.starts_with(&refused)), "{known}: {found:?}");
        let found = whats(&dotted(&format!("{name}-x")));
        assert!(found.iter().any(|what| what.starts_with("unknown field")), "{name}-x: {found:?}");
    }
}

#[test]
fn each_field_of_the_schema_is_described() {
    fn check(schema: &Value, path: &str) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let text = field["description"].as_str().unwrap_or("");
            assert!(text.ends_with('.') && text.len() > 10, "{path}.{name}: {text:?}");
            assert!(!text.contains("  "), "{path}.{name}: {text:?}");
            check(field, &format!("{path}.{name}"));
        }
        if schema["additionalProperties"].is_object() {
            check(&schema["additionalProperties"], path);
        }
    }
    check(&schema(), "");
}

/// The part of JSON schema that ours uses, patterns aside.
fn is_valid(schema: &Value, value: &Value) -> Result<(), String> {
    let bad = |why: &str| Err(format!("{value} {why} {schema}"));
    if let Some(branches) = schema["oneOf"].as_array() {
        let n = branches.iter().filter(|branch| is_valid(branch, value).is_ok()).count();
        return if n == 1 { Ok(()) } else { bad("is not one of") };
    }
    if let Some(words) = schema["enum"].as_array() {
        return if words.contains(value) { Ok(()) } else { bad("is not in") };
    }
    let has_type = |name: &Value| match name.as_str() {
        Some("array") => value.is_array(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64(),
        Some("number") => value.is_number(),
        Some("object") => value.is_object(),
        Some("string") => value.is_string(),
        other => panic!("the schema has the type {other:?}"),
    };
    let typed = match schema["type"].as_array() {
        Some(names) => names.iter().any(has_type),
        None => has_type(&schema["type"]),
    };
    if !typed {
        return bad("has not the type of");
    }
    let number = value.as_i64().unwrap_or(0);
    if schema["minimum"].as_i64().is_some_and(|min| number < min)
        || schema["maximum"].as_i64().is_some_and(|max| number > max)
    {
        return bad("is out of");
    }
    for item in value.as_array().into_iter().flatten() {
        is_valid(&schema["items"], item)?;
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Object(_)) => is_valid(&schema["additionalProperties"], value)?,
            (Value::Null, _) => return bad(&format!("has the unknown field {name} for")),
            (field, _) => is_valid(field, value)?,
        }
    }
    Ok(())
}

fn as_json(value: &toml::de::DeValue<'_>) -> Value {
    use toml::de::DeValue;
    match value {
        DeValue::Array(list) => list.iter().map(|item| as_json(item.get_ref())).collect(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Datetime(_) => panic!("a fleet file has no dates"),
        DeValue::Float(number) => number.as_str().parse::<f64>().expect("it is a number").into(),
        DeValue::Integer(number) => number.as_str().parse::<i64>().expect("it is a number").into(),
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Table(table) => Value::Object(
            table.iter().map(|(k, v)| (k.get_ref().to_string(), as_json(v.get_ref()))).collect(),
        ),
    }
}

#[test]
fn the_schema_accepts_what_the_reader_accepts() {
    let schema = schema();
    for name in ["shop", "every-field", "least"] {
        let text = std::fs::read_to_string(format!("tests/good/{name}.toml")).expect("it is there");
        let table = toml::de::DeTable::parse(&text).expect("it is TOML").into_inner();
        let value = as_json(&toml::de::DeValue::Table(table));
        assert_eq!(is_valid(&schema, &value), Ok(()), "{name}");
    }
    for (table, value) in [("count", 0.into()), ("cuont", 1.into()), ("on", Value::from("vm1"))] {
        let bad = serde_json::json!({ "service": { "a": { table: value } } });
        assert!(is_valid(&schema, &bad).is_err(), "the control: {bad}");
    }
}
