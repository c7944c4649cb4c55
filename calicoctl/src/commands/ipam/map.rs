//! `calicoctl ipam map`, ours: the address space of each pool as a picture. [`picture`] decides what
//! is drawn, [`terminal`] and [`svg`] draw it.

mod palette;
mod picture;
mod svg;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use libcalico::clock;

use super::survey::Survey;
use crate::commands::Outcome;
use crate::context::Context;
use picture::{Frame, Picture};
use terminal::Colours;

pub use terminal::big;

/// The width of a terminal that doesn't tell it.
const WIDTH: usize = 80;
/// The columns and rows of the picture in a file.
const SVG_FRAME: Frame = Frame { columns: 64, rows: 32 };

/// Flags of `ipam map`.
#[derive(Debug, Args)]
pub struct Map {
    /// Only this pool, by its name or range; may be given more than once.
    #[arg(long, value_name = "POOL")]
    pool: Vec<String>,
    /// Only this part of the address space, closer.
    #[arg(long, value_name = "CIDR")]
    cidr: Option<IpNet>,
    /// How to draw: text for the terminal, svg for a browser, json for programs.
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Where the picture goes, if not to standard output.
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// Whether the terminal's picture is in colours.
    #[arg(long, value_enum, default_value_t)]
    color: When,
    /// The width of the terminal's picture; that of the terminal if nothing is said.
    #[arg(long, value_name = "COLUMNS")]
    width: Option<usize>,
}

/// How a picture is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Characters.
    #[default]
    Text,
    /// A vector image.
    Svg,
    /// Its data.
    Json,
}

/// When colours are used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Map {
    /// Draws.
    pub fn run(self, context: &Context) -> Outcome {
        let client = context.client()?;
        let survey = context.block_on(Survey::read(&client, context.deadline()))?;
        self.check(&survey)?;
        let width = self.width.or_else(terminal_width).unwrap_or(WIDTH).max(24);
        let frame = match self.output {
            Output::Text => terminal::frame(width),
            Output::Svg | Output::Json => SVG_FRAME,
        };
        let is_shown = |name: &str, cidr: IpNet| {
            self.pool.is_empty()
                || self.pool.iter().any(|wanted| {
                    wanted == name || wanted.parse::<IpNet>().is_ok_and(|net| net.trunc() == cidr)
                })
        };
        let now = clock::now();
        let picture = Picture::draw(&survey, is_shown, self.cidr, frame, now);
        match self.output {
            Output::Json => self.deliver(&serde_json::to_string_pretty(&picture)?)?,
            Output::Svg => self.deliver(&svg::draw(&picture))?,
            Output::Text => self.deliver(&terminal::draw(&picture, width, self.colours()))?,
        }
        Ok(ExitCode::SUCCESS)
    }

    /// What was asked for must be there.
    fn check(&self, survey: &Survey) -> anyhow::Result<()> {
        for wanted in &self.pool {
            let range = wanted.parse::<IpNet>().ok().map(|net| net.trunc());
            let known =
                |pool: &libcalico::ipam::Pool| pool.name == *wanted || Some(pool.cidr) == range;
            if !survey.pools.iter().any(known) {
                let names: Vec<&str> = survey.pools.iter().map(|pool| pool.name.as_str()).collect();
                bail!("there is no IP pool {wanted}; there are [{}]", names.join(" "));
            }
        }
        if let Some(cidr) = self.cidr {
            let overlaps = |pool: &libcalico::ipam::Pool| {
                pool.cidr.contains(&cidr) || cidr.contains(&pool.cidr)
            };
            if !survey.pools.iter().any(overlaps) {
                bail!("no IP pool has addresses of {cidr}; see calicoctl get ippool -o wide");
            }
        }
        Ok(())
    }

    fn colours(&self) -> Colours {
        let wanted = match self.color {
            When::Always => true,
            When::Never => false,
            When::Auto => {
                self.file.is_none()
                    && std::io::stdout().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none()
                    && std::env::var("TERM").is_ok_and(|term| term != "dumb")
            }
        };
        if !wanted {
            return Colours::None;
        }
        match std::env::var("COLORTERM").as_deref() {
            Ok("truecolor" | "24bit") => Colours::Full,
            _ => Colours::Cube,
        }
    }

    fn deliver(&self, text: &str) -> anyhow::Result<()> {
        match &self.file {
            Some(file) => {
                fs::write(file, text).with_context(|| format!("failed to write {file}"))?;
            }
            None => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// The width of the terminal that is written to.
fn terminal_width() -> Option<usize> {
    if let Ok(columns) = std::env::var("COLUMNS")
        && let Ok(columns) = columns.parse()
    {
        return Some(columns);
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}
