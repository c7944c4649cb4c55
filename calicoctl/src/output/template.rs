//! `-o go-template=`: the part of Go's templates that people use on resources
//! (`reference/calicoctl.md` section 5.1).
//!
//! There are `range` with `break` and `continue`, `with`, `if`, variables, pipelines, `printf`,
//! `index`, `len`, comparisons, `and`, `or`, `not`, and Calico's `join`, `joinAndTruncate` and
//! `config`. Everything else is refused by its name. Fields go by Go's names, like `.ObjectMeta.Name` and `.Spec.CIDR`, which are
//! found in the JSON whatever their case. A field that JSON leaves out because it is empty is empty:
//! it is false to `if`, and equal to "", 0 and false.

mod function;
mod lexer;
mod parser;
mod run;
mod value;

use serde_json::Value;

use crate::kinds::Facts;

/// A template that was read.
#[derive(Debug)]
pub struct Template {
    nodes: Vec<parser::Node>,
    asks_config: bool,
}

/// What is wrong with a template, or with what it does.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TemplateError {
    #[error("template: line {line}: {reason}")]
    Syntax { line: usize, reason: String },
    #[error(
        "template: line {line}: {what} is not supported: use -o custom-columns, or -o json with a \
         tool of its own"
    )]
    Unsupported { line: usize, what: String },
    #[error("template: can't evaluate field {field} in {what}{}", hint(what))]
    Field { field: String, what: &'static str },
    #[error("template: {function}: {reason}")]
    Call { function: &'static str, reason: String },
    #[error("template: range can't iterate over {what}")]
    Range { what: &'static str },
}

/// What those may have meant who know other tools' templates.
fn hint(what: &str) -> &'static str {
    match what {
        "a list" => {
            ": a template begins with the list of all results, so that {{range .}} is first"
        }
        _ => "",
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        let tokens = lexer::lex(text)?;
        let asks_config = tokens.iter().any(|token| token.is_word("config"));
        Ok(Template { nodes: parser::parse(tokens)?, asks_config })
    }

    /// Whether it asks for the cluster's configuration.
    pub fn asks_config(&self) -> bool {
        self.asks_config
    }

    /// What it makes of this value.
    pub fn render(&self, value: Value, facts: &Facts) -> Result<String, TemplateError> {
        run::run(&self.nodes, value, facts)
    }
}

#[cfg(test)]
mod tests;
