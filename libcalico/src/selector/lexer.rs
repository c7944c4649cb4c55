//! A selector's text to tokens.

/// The longest name of a label.
const MAX_LABEL: usize = 512;

/// What a text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    Label(&'a str),
    String(&'a str),
    Equal,
    NotEqual,
    And,
    Or,
    Not,
    Open,
    Close,
    OpenSet,
    CloseSet,
    Comma,
    In,
    NotIn,
    Contains,
    StartsWith,
    EndsWith,
    Has(&'a str),
    All,
    Global,
    End,
    /// What no token begins with.
    Unknown(char),
    /// A string without its closing quote.
    Unterminated,
}

/// Reads tokens one by one. Keywords like `in` only count after a label: elsewhere they are
/// labels themselves.
pub(super) struct Lexer<'a> {
    text: &'a str,
    position: usize,
    after_label: bool,
}

/// The symbols, the longer ones first.
const SYMBOLS: [(&str, Token<'static>); 10] = [
    ("==", Token::Equal),
    ("!=", Token::NotEqual),
    ("&&", Token::And),
    ("||", Token::Or),
    ("!", Token::Not),
    ("(", Token::Open),
    (")", Token::Close),
    ("{", Token::OpenSet),
    ("}", Token::CloseSet),
    (",", Token::Comma),
];

/// The keywords: one word, or two with any number of blanks between them.
const KEYWORDS: [(&str, &str, Token<'static>); 5] = [
    ("in", "", Token::In),
    ("not", "in", Token::NotIn),
    ("contains", "", Token::Contains),
    ("starts", "with", Token::StartsWith),
    ("ends", "with", Token::EndsWith),
];

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Lexer<'a> {
        Lexer { text, position: 0, after_label: false }
    }

    /// The next token and where it begins.
    pub(super) fn next(&mut self) -> (Token<'a>, usize) {
        let blanks = self.rest().len() - skip_blanks(self.rest()).len();
        self.position += blanks;
        let start = self.position;
        let (token, len) = self.scan();
        self.position += len;
        self.after_label = matches!(token, Token::Label(_));
        (token, start)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// The token at the position, and its length.
    fn scan(&self) -> (Token<'a>, usize) {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return (Token::End, 0) };
        if first == '\'' || first == '"' {
            let body = rest.strip_prefix(first).unwrap_or_default();
            return match body.split_once(first) {
                Some((value, _)) => (Token::String(value), value.len() + 2),
                None => (Token::Unterminated, rest.len()),
            };
        }
        if let Some((symbol, token)) = SYMBOLS.iter().find(|(symbol, _)| rest.starts_with(symbol)) {
            return (*token, symbol.len());
        }
        let found = if self.after_label { keyword(rest) } else { function(rest) };
        found.or_else(|| label(rest)).unwrap_or((Token::Unknown(first), first.len_utf8()))
    }
}

fn skip_blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'/' | b'-')
}

/// The label at the beginning.
fn label(text: &str) -> Option<(Token<'_>, usize)> {
    let len = text.bytes().take(MAX_LABEL).take_while(|b| is_label_byte(*b)).count();
    (len > 0).then(|| (Token::Label(&text[..len]), len))
}

/// The keyword at the beginning. A word must end after it.
fn keyword(text: &str) -> Option<(Token<'_>, usize)> {
    KEYWORDS.iter().find_map(|(first, second, token)| {
        let after = text.strip_prefix(first)?;
        let after = match *second {
            "" => after,
            second => skip_blanks(after).strip_prefix(second)?,
        };
        let ends = !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        ends.then_some((*token, text.len() - after.len()))
    })
}

/// `has(label)`, `all()` or `global()`: blanks only inside the parentheses.
fn function(text: &str) -> Option<(Token<'_>, usize)> {
    let (name, arguments) = text.split_once('(')?;
    let arguments = skip_blanks(arguments);
    let (token, after) = match name {
        "all" => (Token::All, arguments),
        "global" => (Token::Global, arguments),
        "has" => match label(arguments)? {
            (Token::Label(label), len) => (Token::Has(label), skip_blanks(&arguments[len..])),
            _ => return None,
        },
        _ => return None,
    };
    let after = after.strip_prefix(')')?;
    Some((token, text.len() - after.len()))
}
