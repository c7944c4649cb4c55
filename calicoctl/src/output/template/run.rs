//! A template at work.

use serde_json::Value;

use super::TemplateError;
use super::function::Function;
use super::parser::{Command, Node, Operand, Pipeline};
use super::value::{field, is_true, text};
use crate::kinds::Facts;

/// What the template makes of a value.
pub fn run(nodes: &[Node], value: Value, facts: &Facts) -> Result<String, TemplateError> {
    let mut state = State {
        facts,
        out: String::new(),
        // `$` is what the template was given.
        variables: vec![(String::new(), value.clone())],
    };
    state.nodes(nodes, &value)?;
    Ok(state.out)
}

/// What comes after a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// The next one.
    Node,
    /// The next element of the `range` around it.
    Element,
    /// The end of the `range` around it.
    End,
}

struct State<'a> {
    facts: &'a Facts,
    out: String,
    variables: Vec<(String, Value)>,
}

impl State<'_> {
    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<Next, TemplateError> {
        for node in nodes {
            let next = self.node(node, dot)?;
            if next != Next::Node {
                return Ok(next);
            }
        }
        Ok(Next::Node)
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<Next, TemplateError> {
        match node {
            Node::Text(text) => {
                self.out.push_str(text);
                Ok(Next::Node)
            }
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    self.out.push_str(&text(&value));
                }
                Ok(Next::Node)
            }
            Node::If(pipeline, body, otherwise) => {
                self.scope(|state| match is_true(&state.pipeline(pipeline, dot)?) {
                    true => state.nodes(body, dot),
                    false => state.nodes(otherwise, dot),
                })
            }
            Node::With(pipeline, body, otherwise) => self.scope(|state| {
                let value = state.pipeline(pipeline, dot)?;
                match is_true(&value) {
                    true => state.nodes(body, &value),
                    false => state.nodes(otherwise, dot),
                }
            }),
            Node::Range(pipeline, body, otherwise) => self.range(pipeline, body, otherwise, dot),
            Node::Break => Ok(Next::End),
            Node::Continue => Ok(Next::Element),
        }
    }

    /// Variables that are made within end with it.
    fn scope(
        &mut self,
        within: impl FnOnce(&mut Self) -> Result<Next, TemplateError>,
    ) -> Result<Next, TemplateError> {
        let count = self.variables.len();
        let done = within(self);
        self.variables.truncate(count);
        done
    }

    fn range(
        &mut self,
        pipeline: &Pipeline,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<Next, TemplateError> {
        let what = |what| TemplateError::Range { what };
        let elements: Vec<(Value, Value)> = match self.commands(pipeline, dot)? {
            Value::Null => Vec::new(),
            Value::Array(list) => {
                list.into_iter().enumerate().map(|(at, item)| (at.into(), item)).collect()
            }
            Value::Object(map) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()
            }
            Value::String(_) => return Err(what("a text")),
            Value::Number(_) => return Err(what("a number")),
            Value::Bool(_) => return Err(what("a boolean")),
        };
        if elements.is_empty() {
            return self.scope(|state| state.nodes(otherwise, dot));
        }
        for (key, item) in elements {
            let next = self.scope(|state| {
                match pipeline.variables.as_slice() {
                    [] => {}
                    [one] => state.variables.push((one.clone(), item.clone())),
                    [first, second, ..] => {
                        state.variables.push((first.clone(), key));
                        state.variables.push((second.clone(), item.clone()));
                    }
                }
                state.nodes(body, &item)
            })?;
            if next == Next::End {
                break;
            }
        }
        Ok(Next::Node)
    }

    fn pipeline(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let value = self.commands(pipeline, dot)?;
        for name in &pipeline.variables {
            let known = self.variables.iter_mut().rev().find(|(known, _)| known == name);
            match (pipeline.declares, known) {
                (true, _) => self.variables.push((name.clone(), value.clone())),
                (false, Some((_, old))) => value.clone_into(old),
                (false, None) => return Err(undefined(name)),
            }
        }
        Ok(value)
    }

    fn commands(&mut self, pipeline: &Pipeline, dot: &Value) -> Result<Value, TemplateError> {
        let mut last = None;
        for command in &pipeline.commands {
            last = Some(match command {
                Command::Value(operand) => self.operand(operand, dot)?,
                Command::Call(function, operands) if function.decides_early() => {
                    self.until_decided(*function, operands, last.take(), dot)?
                }
                Command::Call(function, operands) => {
                    let mut arguments = operands
                        .iter()
                        .map(|operand| self.operand(operand, dot))
                        .collect::<Result<Vec<Value>, TemplateError>>()?;
                    arguments.extend(last.take());
                    function.call(&arguments, self.facts)?
                }
            });
        }
        Ok(last.unwrap_or_default())
    }

    /// `and` and `or`, which don't look at what comes behind the value that decides.
    fn until_decided(
        &mut self,
        function: Function,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let mut seen = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if function.is_decided_by(&value) {
                return Ok(value);
            }
            seen.push(value);
        }
        seen.extend(piped);
        function.call(&seen, self.facts)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let (value, path) = match operand {
            Operand::Literal(value) => return Ok(value.clone()),
            Operand::Dot(path) => return follow(dot, path),
            Operand::Variable(name, path) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                return follow(&known.ok_or_else(|| undefined(name))?.1, path);
            }
            Operand::Pipeline(pipeline, path) => (self.pipeline(pipeline, dot)?, path),
        };
        follow(&value, path)
    }
}

fn follow(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    match path.split_first() {
        None => Ok(value.clone()),
        Some((name, rest)) => {
            rest.iter().try_fold(field(value, name)?, |value, name| field(&value, name))
        }
    }
}

fn undefined(name: &str) -> TemplateError {
    TemplateError::Field { field: format!("${name}"), what: "the template's variables" }
}
