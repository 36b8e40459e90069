//! Command lines, as far as a single command without redirections goes.

use std::collections::BTreeMap;

/// Puts in variables; fails with what to do where one has no value. `$(…)` stays as it is.
pub(super) fn expand(text: &str, variables: &BTreeMap<String, String>) -> Result<String, String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, left) = name(after);
        if name.is_empty() {
            expanded.push('$');
            rest = after;
            continue;
        }
        let unset = || format!("${{{name}}} has no value; give it one");
        let value = variables.get(name).ok_or_else(unset)?;
        expanded.push_str(value);
        rest = left;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The variable's name that a text begins with, braces or none, and what follows.
fn name(text: &str) -> (&str, &str) {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let braced = text
        .strip_prefix('{')
        .and_then(|inner| inner.split_once('}'));
    match braced {
        Some((name, left)) if !name.is_empty() && name.chars().all(is_part) => (name, left),
        _ if text.starts_with(|c: char| c.is_ascii_digit()) => ("", text),
        _ => text.split_at(text.find(|c: char| !is_part(c)).unwrap_or(text.len())),
    }
}

/// The words of a command; none where it is more than one command, or its quotes are not closed.
pub(super) fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' => words.extend(word.take()),
            ';' | '|' | '&' | '<' | '>' | '\n' | '`' | '(' | ')' => return None,
            '\'' => quote(&mut letters, '\'', word.get_or_insert_default())?,
            '"' => quote(&mut letters, '"', word.get_or_insert_default())?,
            '\\' => word.get_or_insert_default().push(letters.next()?),
            '$' if letters.as_str().starts_with('(') => {
                substitution(&mut letters, word.get_or_insert_default())?;
            }
            _ => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    Some(words)
}

fn quote(letters: &mut std::str::Chars<'_>, mark: char, word: &mut String) -> Option<()> {
    loop {
        match letters.next()? {
            end if end == mark => return Some(()),
            '\\' if mark == '"' => word.push(letters.next()?),
            letter => word.push(letter),
        }
    }
}

/// `$(…)`, as it is.
fn substitution(letters: &mut std::str::Chars<'_>, word: &mut String) -> Option<()> {
    word.push('$');
    loop {
        let letter = letters.next()?;
        word.push(letter);
        if letter == ')' {
            return Some(());
        }
    }
}
