//! YAML as upstream's operators write it (`reference/calicoctl.md` section 3.4): YAML 1.1 words,
//! documents between lines of `---`, duplicate keys refused. JSON is read, too.
//!
//! A tag of one's own on nothing, as in `nodeSelector: !has(x)`, is the text that was meant: YAML
//! takes an unquoted `!` for the beginning of a tag, and upstream stores an empty selector.

mod reader;
pub mod scalar;

use std::borrow::Cow;

use serde_json::Value;

/// The most bytes of a document.
const MAX_DOCUMENT: usize = 10 * 1024 * 1024;

/// The most tabs behind keys that are put up with in a document.
const MAX_TABS: usize = 200;

/// What is wrong with a text.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum YamlError {
    #[error("line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    #[error("line {line}: key \"{key}\" is already set in this map; remove one of the two")]
    DuplicateKey { line: usize, key: String },
    #[error("line {line}: the tag {tag} is not supported; put the text into quotes if it is one")]
    Tag { line: usize, tag: String },
    #[error("line {line}: {text:?} is no {wanted}, as its tag says")]
    NotAsTagged { line: usize, text: String, wanted: &'static str },
    #[error("line {line}: a key must be a plain word or text")]
    Key { line: usize },
    #[error("line {line}: JSON knows no number {text}")]
    Number { line: usize, text: String },
    #[error("line {line}: nested too deeply")]
    TooDeep { line: usize },
    #[error("line {line}: aliases make this document too large")]
    TooManyAliases { line: usize },
    #[error("the document at line {line} has more than {} MB", MAX_DOCUMENT / 1024 / 1024)]
    TooLarge { line: usize },
}

/// A document, and the line where it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// What it says; null when it says nothing.
    pub value: Value,
    /// The line of its first character, from 1 on.
    pub line: usize,
}

/// Reads a text's documents.
pub fn parse(text: &str) -> Result<Vec<Value>, YamlError> {
    Ok(parse_with_lines(text)?.into_iter().map(|parsed| parsed.value).collect())
}

/// Reads a text's documents, and where they begin.
pub fn parse_with_lines(text: &str) -> Result<Vec<Parsed>, YamlError> {
    split(text)
        .into_iter()
        .map(|(line, text)| {
            if text.len() > MAX_DOCUMENT {
                return Err(YamlError::TooLarge { line });
            }
            Ok(Parsed { value: document(&text, line)?, line })
        })
        .collect()
}

fn document(text: &str, line: usize) -> Result<Value, YamlError> {
    let text = &spaced(text, line);
    reader::read(text, line).or_else(|error| {
        // JSON that is no YAML: an escaped surrogate pair, a tab where YAML has none.
        let is_syntax = matches!(error, YamlError::Syntax { .. });
        let is_json = is_syntax && text.trim_start().starts_with(['{', '[']);
        is_json.then(|| serde_json::from_str(text).ok()).flatten().ok_or(error)
    })
}

/// The text, with a space for each tab that stands right behind the colon of a key.
///
/// COMPAT: our parser wants a space there; YAML and upstream's parser don't mind. The line where it
/// stumbles is changed, and read again, so that texts of other lines keep their tabs.
fn spaced(text: &str, first_line: usize) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    if !text.contains(":\t") {
        return text;
    }
    for _ in 0..MAX_TABS {
        let Err(YamlError::Syntax { line, .. }) = reader::read(&text, first_line) else { break };
        let start =
            text.split_inclusive('\n').take(line.saturating_sub(first_line)).map(str::len).sum();
        let Some((before, from)) = text.split_at_checked(start) else { break };
        let (this, after) = from.split_once('\n').map_or((from, None), |(a, b)| (a, Some(b)));
        let Some((key, value)) = this.split_once(":\t") else { break };
        let rest = after.map(|after| format!("\n{after}")).unwrap_or_default();
        text = Cow::Owned(format!("{before}{key}: {value}{rest}"));
    }
    text
}

/// Splits a text into its documents, each with the line where it begins. One without any text
/// between the separators is none, and neither is a comment before the first separator.
fn split(text: &str) -> Vec<(usize, String)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut documents = vec![(1, String::new())];
    let mut separated = false;
    for (at, line) in text.split_inclusive('\n').enumerate() {
        match line
            .strip_prefix("---")
            .filter(|rest| rest.starts_with([' ', '\t', '\r', '\n']) || rest.is_empty())
        {
            None => {
                if let Some((_, document)) = documents.last_mut() {
                    document.push_str(line);
                }
            }
            Some(rest) => {
                let said = rest.trim();
                if !separated && documents.last().is_some_and(|(_, text)| says_nothing(text)) {
                    documents.clear();
                }
                separated = true;
                match said.is_empty() || said.starts_with('#') {
                    true => documents.push((at + 2, String::new())),
                    // What stands behind the separator belongs to the document.
                    false => documents.push((at + 1, format!("   {rest}"))),
                }
            }
        }
    }
    documents.retain(|(_, text)| !text.is_empty());
    documents
}

/// Whether there are only comments, directives such as `%YAML 1.1`, and blanks.
fn says_nothing(text: &str) -> bool {
    text.lines().map(str::trim).all(|line| line.is_empty() || line.starts_with(['#', '%']))
}

#[cfg(test)]
mod tests;
