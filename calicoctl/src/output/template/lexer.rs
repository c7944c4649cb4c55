//! Text, and between `{{` and `}}` words.

use super::TemplateError;

/// A piece of a template, and the line where it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: TokenKind,
    pub line: usize,
}

/// The kinds of pieces.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenKind {
    /// Text outside of actions.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// A keyword or the name of a function.
    Word(String),
    /// `.Name`, or `.` alone, which is empty.
    Field(String),
    /// `$name`, or `$` alone, which is empty.
    Variable(String),
    /// A text in quotes.
    String(String),
    /// A number.
    Number(serde_json::Number),
    /// `|`, `(`, `)`, `,`, `=`.
    Sign(char),
    /// `:=`.
    Declare,
    /// A blank, which tells `.A .B` from `.A.B`.
    Blank,
}

impl Token {
    /// Whether it is this word.
    pub fn is_word(&self, word: &str) -> bool {
        matches!(&self.kind, TokenKind::Word(other) if other == word)
    }
}

/// Takes a template apart.
pub fn lex(text: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    let mut trim = false;
    loop {
        let line = line_of(text, rest);
        let Some(at) = rest.find("{{") else {
            push_text(&mut tokens, rest, trim, false, line);
            return Ok(tokens);
        };
        let (before, action) = (&rest[..at], &rest[at + 2..]);
        let line_of_action = line_of(text, action);
        let trims_before =
            action.starts_with('-') && action[1..].starts_with([' ', '\t', '\r', '\n']);
        push_text(&mut tokens, before, trim, trims_before, line);
        let action = if trims_before { &action[1..] } else { action };
        if action.trim_start().starts_with("/*") {
            let unclosed = || syntax(line_of_action, "a comment without an end");
            let end = action.find("*/").ok_or_else(unclosed)?;
            let after = action[end + 2..].trim_start();
            (trim, rest) = match (after.strip_prefix("-}}"), after.strip_prefix("}}")) {
                (Some(rest), _) => (true, rest),
                (None, Some(rest)) => (false, rest),
                (None, None) => return Err(unclosed()),
            };
            continue;
        }
        tokens.push(Token { kind: TokenKind::Open, line: line_of_action });
        let mut scanner = Scanner { text, rest: action };
        trim = scanner.action(&mut tokens)?;
        rest = scanner.rest;
    }
}

fn push_text(tokens: &mut Vec<Token>, text: &str, start: bool, end: bool, line: usize) {
    let text = if start { text.trim_start() } else { text };
    let text = if end { text.trim_end() } else { text };
    if !text.is_empty() {
        tokens.push(Token { kind: TokenKind::Text(text.to_owned()), line });
    }
}

fn line_of(text: &str, rest: &str) -> usize {
    text[..text.len() - rest.len()].matches('\n').count() + 1
}

fn syntax(line: usize, reason: impl Into<String>) -> TemplateError {
    TemplateError::Syntax { line, reason: reason.into() }
}

struct Scanner<'a> {
    text: &'a str,
    rest: &'a str,
}

impl Scanner<'_> {
    /// Reads up to the end of an action. Whether blanks behind it go.
    fn action(&mut self, tokens: &mut Vec<Token>) -> Result<bool, TemplateError> {
        loop {
            let line = line_of(self.text, self.rest);
            let mut push = |kind| tokens.push(Token { kind, line });
            let Some(c) = self.rest.chars().next() else {
                return Err(syntax(line, "an action without its }}"));
            };
            if self.rest.starts_with("}}") {
                self.rest = &self.rest[2..];
                push(TokenKind::Close);
                return Ok(false);
            }
            match c {
                ' ' | '\t' | '\r' | '\n' => {
                    self.rest = self.rest.trim_start();
                    if let Some(rest) = self.rest.strip_prefix("-}}") {
                        self.rest = rest;
                        push(TokenKind::Close);
                        return Ok(true);
                    }
                    push(TokenKind::Blank);
                }
                '|' | '(' | ')' | ',' | '=' => {
                    self.rest = &self.rest[1..];
                    push(TokenKind::Sign(c));
                }
                ':' if self.rest.starts_with(":=") => {
                    self.rest = &self.rest[2..];
                    push(TokenKind::Declare);
                }
                '.' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                    self.rest = &self.rest[1..];
                    push(TokenKind::Field(self.word()));
                }
                '$' => {
                    self.rest = &self.rest[1..];
                    push(TokenKind::Variable(self.word()));
                }
                '"' => push(TokenKind::String(self.quoted(line)?)),
                '`' => {
                    let end = self.rest[1..].find('`');
                    let end = end.ok_or_else(|| syntax(line, "a text without its end"))?;
                    push(TokenKind::String(self.rest[1..=end].to_owned()));
                    self.rest = &self.rest[end + 2..];
                }
                '0'..='9' | '-' | '+' | '.' => push(TokenKind::Number(self.number(line)?)),
                c if is_word(c) => push(TokenKind::Word(self.word())),
                c => return Err(syntax(line, format!("unexpected {c:?}"))),
            }
        }
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    /// A text in double quotes, with Go's escapes.
    fn quoted(&mut self, line: usize) -> Result<String, TemplateError> {
        let unclosed = || syntax(line, "a text without its end");
        let mut text = String::new();
        let mut chars = self.rest[1..].char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 2..];
                    return Ok(text);
                }
                '\n' => return Err(unclosed()),
                '\\' => match chars.next().ok_or_else(unclosed)?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    c @ ('"' | '\\' | '\'') => text.push(c),
                    other => return Err(syntax(line, format!("unknown escape \\{other}"))),
                },
                c => text.push(c),
            }
        }
        Err(unclosed())
    }

    fn number(&mut self, line: usize) -> Result<serde_json::Number, TemplateError> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        let text = text.strip_prefix('+').unwrap_or(text);
        text.parse().map_err(|_| syntax(line, format!("{text} is no number")))
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
