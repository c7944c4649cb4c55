//! The tree of a template.

use std::collections::VecDeque;

use serde_json::Value;

use super::TemplateError;
use super::function::Function;
use super::lexer::{Token, TokenKind};

/// A part of a template.
#[derive(Debug)]
pub enum Node {
    /// Text.
    Text(String),
    /// What a pipeline comes to is printed, unless it is given to a variable.
    Action(Pipeline),
    /// `if`, with what else.
    If(Pipeline, Vec<Node>, Vec<Node>),
    /// `with`.
    With(Pipeline, Vec<Node>, Vec<Node>),
    /// `range`.
    Range(Pipeline, Vec<Node>, Vec<Node>),
    /// `break`: the `range` around it ends.
    Break,
    /// `continue`: the `range` around it goes on with the next element.
    Continue,
}

/// Commands, each of which gets what the one before it came to.
#[derive(Debug)]
pub struct Pipeline {
    /// The variables that get the value, and whether they are new.
    pub variables: Vec<String>,
    /// Whether they are new.
    pub declares: bool,
    /// The commands.
    pub commands: Vec<Command>,
}

/// A value, or a function with its arguments.
#[derive(Debug)]
pub enum Command {
    /// A value.
    Value(Operand),
    /// A call.
    Call(Function, Vec<Operand>),
}

/// A value.
#[derive(Debug)]
pub enum Operand {
    /// A literal.
    Literal(Value),
    /// `.A.B`.
    Dot(Vec<String>),
    /// `$x.A.B`.
    Variable(String, Vec<String>),
    /// `(…).A.B`.
    Pipeline(Box<Pipeline>, Vec<String>),
}

/// How deep actions may lie in one another.
const MAX_DEPTH: usize = 100;

/// Builds the tree.
pub fn parse(tokens: Vec<Token>) -> Result<Vec<Node>, TemplateError> {
    let mut parser = Parser { tokens: tokens.into(), line: 1, depth: 0, ranges: 0 };
    let (nodes, end) = parser.nodes()?;
    match end {
        End::Template => Ok(nodes),
        End::Else | End::Block => Err(parser.syntax("unexpected else or end")),
    }
}

/// What ends a list of nodes.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The end of the template.
    Template,
    /// `{{else`, whose rest is still there.
    Else,
    /// `{{end}}`.
    Block,
}

struct Parser {
    tokens: VecDeque<Token>,
    line: usize,
    depth: usize,
    /// How many `range` there are around what is read.
    ranges: usize,
}

impl Parser {
    fn syntax(&self, reason: impl Into<String>) -> TemplateError {
        TemplateError::Syntax { line: self.line, reason: reason.into() }
    }

    fn peek(&self) -> Option<&TokenKind> {
        self.tokens.front().map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<TokenKind> {
        let token = self.tokens.pop_front()?;
        self.line = token.line;
        Some(token.kind)
    }

    fn skip_blanks(&mut self) {
        while self.peek() == Some(&TokenKind::Blank) {
            self.next();
        }
    }

    fn nodes(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.syntax("nested too deeply"));
        }
        let mut nodes = Vec::new();
        let end = loop {
            match self.next() {
                None => break End::Template,
                Some(TokenKind::Text(text)) => nodes.push(Node::Text(text)),
                Some(_) => {
                    self.skip_blanks();
                    let word = match self.peek() {
                        Some(TokenKind::Word(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" => {
                            self.next();
                            self.close()?;
                            break End::Block;
                        }
                        "else" => {
                            self.next();
                            break End::Else;
                        }
                        "if" => nodes.push(self.block(Node::If)?),
                        "with" => nodes.push(self.block(Node::With)?),
                        "range" => {
                            self.ranges += 1;
                            nodes.push(self.block(Node::Range)?);
                            self.ranges -= 1;
                        }
                        "break" => nodes.push(self.of_range(Node::Break)?),
                        "continue" => nodes.push(self.of_range(Node::Continue)?),
                        "define" | "template" | "block" => {
                            return Err(self.unsupported(word));
                        }
                        _ => {
                            let pipeline = self.pipeline()?;
                            self.close()?;
                            nodes.push(Node::Action(pipeline));
                        }
                    }
                }
            }
        };
        self.depth -= 1;
        Ok((nodes, end))
    }

    fn unsupported(&self, what: impl Into<String>) -> TemplateError {
        let line = self.tokens.front().map_or(self.line, |token| token.line);
        TemplateError::Unsupported { line, what: what.into() }
    }

    fn close(&mut self) -> Result<(), TemplateError> {
        self.skip_blanks();
        match self.next() {
            Some(TokenKind::Close) => Ok(()),
            _ => Err(self.syntax("expected }}")),
        }
    }

    /// `break` or `continue`.
    fn of_range(&mut self, node: Node) -> Result<Node, TemplateError> {
        self.next();
        if self.ranges == 0 {
            return Err(self.syntax("break or continue outside of a range"));
        }
        self.close()?;
        Ok(node)
    }

    /// `if`, `with` or `range`, up to its end.
    fn block(
        &mut self,
        make: fn(Pipeline, Vec<Node>, Vec<Node>) -> Node,
    ) -> Result<Node, TemplateError> {
        self.next();
        let pipeline = self.pipeline()?;
        self.close()?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            End::Block => Vec::new(),
            End::Template => return Err(self.syntax("a block without its {{end}}")),
            End::Else => {
                self.skip_blanks();
                match self.peek() {
                    Some(TokenKind::Word(word)) if word == "if" => vec![self.block(Node::If)?],
                    Some(TokenKind::Word(word)) if word == "with" => vec![self.block(Node::With)?],
                    _ => {
                        self.close()?;
                        let (otherwise, end) = self.nodes()?;
                        if end != End::Block {
                            return Err(self.syntax("an else without its {{end}}"));
                        }
                        otherwise
                    }
                }
            }
        };
        Ok(make(pipeline, body, otherwise))
    }

    fn pipeline(&mut self) -> Result<Pipeline, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.syntax("nested too deeply"));
        }
        let (variables, declares) = self.variables()?;
        let mut commands = vec![self.command()?];
        loop {
            self.skip_blanks();
            match self.peek() {
                Some(TokenKind::Sign('|')) => {
                    self.next();
                    commands.push(self.command()?);
                }
                _ => break,
            }
        }
        let values = commands.iter().skip(1).any(|command| matches!(command, Command::Value(_)));
        if values {
            return Err(self.syntax("only a function can stand behind |"));
        }
        self.depth -= 1;
        Ok(Pipeline { variables, declares, commands })
    }

    /// `$x :=`, `$i, $x :=`, `$x =`, if that is how the pipeline begins.
    fn variables(&mut self) -> Result<(Vec<String>, bool), TemplateError> {
        let significant: Vec<(usize, &TokenKind)> = self
            .tokens
            .iter()
            .map(|token| &token.kind)
            .enumerate()
            .filter(|(_, kind)| **kind != TokenKind::Blank)
            .take(4)
            .collect();
        use TokenKind::{Declare, Sign, Variable};
        let kinds: Vec<&TokenKind> = significant.iter().map(|(_, kind)| *kind).collect();
        let (names, declares, used) = match kinds.as_slice() {
            [Variable(a), Declare, ..] => (vec![a.clone()], true, 2),
            [Variable(a), Sign('='), ..] => (vec![a.clone()], false, 2),
            [Variable(a), Sign(','), Variable(b), Declare] => (vec![a.clone(), b.clone()], true, 4),
            _ => return Ok((Vec::new(), false)),
        };
        let last = significant.get(used - 1).map_or(0, |(at, _)| *at);
        self.tokens.drain(..=last);
        Ok((names, declares))
    }

    fn command(&mut self) -> Result<Command, TemplateError> {
        self.skip_blanks();
        if let Some(TokenKind::Word(word)) = self.peek()
            && !matches!(word.as_str(), "true" | "false" | "nil")
        {
            let function = Function::named(word)
                .ok_or_else(|| self.unsupported(format!("the function {word}")))?;
            self.next();
            let mut arguments = Vec::new();
            while let Some(argument) = self.operand()? {
                arguments.push(argument);
            }
            return Ok(Command::Call(function, arguments));
        }
        match self.operand()? {
            Some(operand) => Ok(Command::Value(operand)),
            None => Err(self.syntax("a value is missing")),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        self.skip_blanks();
        let operand = match self.peek() {
            Some(TokenKind::Close | TokenKind::Sign('|' | ')')) | None => return Ok(None),
            _ => self.next(),
        };
        let literal = |value: Value| Ok(Some(Operand::Literal(value)));
        match operand {
            Some(TokenKind::String(text)) => literal(text.into()),
            Some(TokenKind::Number(number)) => literal(number.into()),
            Some(TokenKind::Field(name)) => {
                let mut path = Vec::from_iter((!name.is_empty()).then_some(name));
                path.extend(self.path());
                Ok(Some(Operand::Dot(path)))
            }
            Some(TokenKind::Variable(name)) => Ok(Some(Operand::Variable(name, self.path()))),
            Some(TokenKind::Sign('(')) => {
                let pipeline = self.pipeline()?;
                self.skip_blanks();
                match self.next() {
                    Some(TokenKind::Sign(')')) => {}
                    _ => return Err(self.syntax("expected )")),
                }
                Ok(Some(Operand::Pipeline(Box::new(pipeline), self.path())))
            }
            Some(TokenKind::Word(word)) => match word.as_str() {
                "true" => literal(true.into()),
                "false" => literal(false.into()),
                "nil" => literal(Value::Null),
                // A function without arguments can be one.
                _ => match Function::named(&word) {
                    Some(function) => {
                        let call = Command::Call(function, Vec::new());
                        let pipeline = Pipeline {
                            variables: Vec::new(),
                            declares: false,
                            commands: vec![call],
                        };
                        Ok(Some(Operand::Pipeline(Box::new(pipeline), Vec::new())))
                    }
                    None => Err(self.unsupported(format!("the function {word}"))),
                },
            },
            _ => Err(self.syntax("a value is missing")),
        }
    }

    /// The fields that follow without a blank between.
    fn path(&mut self) -> Vec<String> {
        let mut path = Vec::new();
        while let Some(TokenKind::Field(name)) = self.peek() {
            path.push(name.clone());
            self.next();
        }
        path
    }
}
