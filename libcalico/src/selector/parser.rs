//! Tokens to a tree, by recursive descent.

use std::collections::BTreeSet;

use super::SelectorError;
use super::expression::{Comparison, Expression};
use super::lexer::{Lexer, Token};

/// How deep parentheses may nest: selectors come from outside, and recursion must end.
const MAX_DEPTH: usize = 200;

/// How much of a selector an error shows.
const SHOWN: usize = 120;

/// Reads a whole selector.
pub(super) fn parse(text: &str) -> Result<Expression, SelectorError> {
    let mut lexer = Lexer::new(text);
    let (token, position) = lexer.next();
    let mut parser = Parser { text, lexer, token, position, depth: 0 };
    if parser.token == Token::End {
        return Ok(Expression::All);
    }
    let expression = parser.alternatives()?;
    match parser.token {
        Token::End => Ok(expression),
        _ => Err(parser.error("'&&', '||' or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    token: Token<'a>,
    position: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Takes the present token and moves on.
    fn take(&mut self) -> Token<'a> {
        let token = self.token;
        (self.token, self.position) = self.lexer.next();
        token
    }

    /// Moves on if the present token is this one.
    fn skip(&mut self, token: Token<'_>) -> bool {
        let found = self.token == token;
        if found {
            self.take();
        }
        found
    }

    /// `x || y || …`
    fn alternatives(&mut self) -> Result<Expression, SelectorError> {
        let mut list = vec![self.conjunction()?];
        while self.skip(Token::Or) {
            list.push(self.conjunction()?);
        }
        Ok(one_or(list, Expression::Or))
    }

    /// `x && y && …`
    fn conjunction(&mut self) -> Result<Expression, SelectorError> {
        let mut list = vec![self.negation()?];
        while self.skip(Token::And) {
            list.push(self.negation()?);
        }
        Ok(one_or(list, Expression::And))
    }

    /// `!x`, where an even number of `!` is none.
    fn negation(&mut self) -> Result<Expression, SelectorError> {
        let mut negated = false;
        while self.skip(Token::Not) {
            negated = !negated;
        }
        let primary = self.primary()?;
        Ok(if negated { Expression::Not(Box::new(primary)) } else { primary })
    }

    fn primary(&mut self) -> Result<Expression, SelectorError> {
        const EXPECTED: &str = "a label, has(…), all() or '('";
        match self.token {
            Token::Open => self.parenthesised(),
            Token::All => {
                self.take();
                Ok(Expression::All)
            }
            Token::Global => {
                self.take();
                Ok(Expression::Global)
            }
            Token::Has(label) => {
                self.take();
                Ok(Expression::Has(label.to_owned()))
            }
            Token::Label(label) => {
                self.take();
                self.operation(label)
            }
            _ => Err(self.error(EXPECTED)),
        }
    }

    fn parenthesised(&mut self) -> Result<Expression, SelectorError> {
        if self.depth == MAX_DEPTH {
            return Err(self.error("at most 200 parentheses inside each other"));
        }
        self.take();
        self.depth += 1;
        let inner = self.alternatives()?;
        self.depth -= 1;
        match self.skip(Token::Close) {
            true => Ok(inner),
            false => Err(self.error("'&&', '||' or ')'")),
        }
    }

    /// What follows a label.
    fn operation(&mut self, label: &str) -> Result<Expression, SelectorError> {
        let comparison = match self.token {
            Token::Equal => Comparison::Equal,
            Token::NotEqual => Comparison::NotEqual,
            Token::Contains => Comparison::Contains,
            Token::StartsWith => Comparison::StartsWith,
            Token::EndsWith => Comparison::EndsWith,
            Token::In | Token::NotIn => {
                let negated = self.take() == Token::NotIn;
                let values = self.set()?;
                return Ok(Expression::Member { label: label.to_owned(), negated, values });
            }
            _ => return Err(self.error("an operator like '==' or 'in'")),
        };
        self.take();
        let value = self.string()?;
        Ok(Expression::Compare(label.to_owned(), comparison, value))
    }

    fn string(&mut self) -> Result<String, SelectorError> {
        match self.token {
            Token::String(value) => {
                self.take();
                Ok(value.to_owned())
            }
            _ => Err(self.error("a string in quotes")),
        }
    }

    /// `{"a", "b"}`; a comma may follow the last string.
    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if !self.skip(Token::OpenSet) {
            return Err(self.error("'{'"));
        }
        let mut values = BTreeSet::new();
        while self.token != Token::CloseSet {
            values.insert(self.string()?);
            if !self.skip(Token::Comma) {
                break;
            }
        }
        match self.skip(Token::CloseSet) {
            true => Ok(values),
            false => Err(self.error("',' or '}'")),
        }
    }

    /// The present token is not what it should be.
    fn error(&self, expected: &'static str) -> SelectorError {
        let found = match self.token {
            Token::End => "the end".to_owned(),
            Token::Unterminated => "a string without its closing quote".to_owned(),
            _ => {
                let rest = self.text.get(self.position..).unwrap_or_default();
                let word: String =
                    rest.chars().take_while(|c| !c.is_whitespace()).take(20).collect();
                match word.is_empty() {
                    true => format!("{:?}", rest.chars().next().unwrap_or(' ')),
                    false => format!("{word:?}"),
                }
            }
        };
        let mut selector: String = self.text.chars().take(SHOWN).collect();
        if selector.len() < self.text.len() {
            selector.push('…');
        }
        SelectorError { selector, position: self.position, found, expected }
    }
}

/// The only one, or the list as a whole.
fn one_or(
    mut list: Vec<Expression>,
    whole: impl FnOnce(Vec<Expression>) -> Expression,
) -> Expression {
    match (list.len(), list.pop()) {
        (1, Some(only)) => only,
        (_, last) => {
            list.extend(last);
            whole(list)
        }
    }
}
