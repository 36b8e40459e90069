use serde_json::Value;

/// Writes values as YAML in block style. Strings are quoted as in JSON, which YAML reads the same.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    write_below(value, 0, &mut text);
    text
}

fn write_below(value: &Value, depth: usize, text: &mut String) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                write_entry(&format!("{indent}{}:", key_text(key)), value, depth, text);
            }
        }
        Value::Array(items) => {
            for item in items {
                write_entry(&format!("{indent}-"), item, depth, text);
            }
        }
        scalar => {
            text.extend([&indent, &scalar.to_string(), "\n"]);
        }
    }
}

fn write_entry(start: &str, value: &Value, depth: usize, text: &mut String) {
    text.push_str(start);
    let nested = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if nested {
        text.push('\n');
        write_below(value, depth + 1, text);
    } else {
        text.extend([" ", &value.to_string(), "\n"]);
    }
}

fn key_text(key: &str) -> String {
    let plain = !key.is_empty()
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && key.starts_with(|c: char| c.is_ascii_alphabetic());
    if plain {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}
