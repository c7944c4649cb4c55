//! The formats of `get -o` (`reference/calicoctl.md` section 5.1).

use std::fs;

use anyhow::{Context as _, anyhow, bail};
use libcalico::resources::{API_VERSION, AnyResource, Kind};
use libcalico::store::Revision;
use serde::{Serialize, Serializer};
use serde_json::json;

use super::table::Plain;
use super::template::Template;
use super::{json, yaml};
use crate::input;
use crate::kinds::{Column, Facts, KindInfo};

/// How resources are shown.
#[derive(Debug)]
pub enum Format {
    /// A table of the most important columns.
    Ps,
    /// A table of more columns.
    Wide,
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// A table of these columns.
    CustomColumns(Vec<String>),
    /// What a template makes of them.
    Template(Template),
}

/// What was read.
#[derive(Debug)]
pub enum Shown {
    /// A resource that was asked for by its name.
    One(Box<AnyResource>),
    /// The resources of a kind.
    List {
        /// The kind.
        kind: Kind,
        /// The resources.
        items: Vec<AnyResource>,
        /// The store's revision at the time.
        revision: Revision,
    },
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Shown::One(resource) => resource.serialize(serializer),
            Shown::List { kind, items, revision } => json!({
                "kind": format!("{}List", kind.name()),
                "apiVersion": API_VERSION,
                "metadata": {"resourceVersion": revision.to_string()},
                "items": items,
            })
            .serialize(serializer),
        }
    }
}

impl Format {
    /// Reads what stands behind `-o`.
    pub fn parse(text: &str) -> anyhow::Result<Format> {
        let (name, rest) = text.split_once('=').unwrap_or((text, ""));
        match name {
            "ps" | "" => Ok(Format::Ps),
            "wide" => Ok(Format::Wide),
            "yaml" | "yml" => Ok(Format::Yaml),
            "json" => Ok(Format::Json),
            "custom-columns" if rest.is_empty() => bail!("need to specify at least one column"),
            "custom-columns" => {
                Ok(Format::CustomColumns(rest.split(',').map(str::to_owned).collect()))
            }
            "go-template" if rest.is_empty() => bail!("need to specify a template"),
            "go-template" => Ok(Format::Template(Template::parse(rest)?)),
            "go-template-file" if rest.is_empty() => bail!("need to specify a template file"),
            "go-template-file" => {
                let template = fs::read_to_string(rest)
                    .with_context(|| format!("cannot read the template file {rest}"))?;
                Ok(Format::Template(Template::parse(&template)?))
            }
            _ => bail!(
                "unrecognized output format '{text}': it is one of ps, wide, yaml, json, \
                 custom-columns=, go-template= and go-template-file="
            ),
        }
    }

    /// Whether it shows something that is in no resource of these.
    pub fn needs_facts(&self, shown: &[Shown]) -> bool {
        let nodes = || shown.iter().any(|shown| shown.kind() == Kind::Node);
        match self {
            Format::Ps | Format::Yaml | Format::Json => false,
            Format::Wide => nodes(),
            Format::CustomColumns(columns) => columns.iter().any(|name| name == "ASN") && nodes(),
            Format::Template(template) => template.asks_config(),
        }
    }
}

impl Shown {
    fn kind(&self) -> Kind {
        match self {
            Shown::One(resource) => resource.kind,
            Shown::List { kind, .. } => *kind,
        }
    }

    fn resources(&self) -> &[AnyResource] {
        match self {
            Shown::One(resource) => std::slice::from_ref(&**resource),
            Shown::List { items, .. } => items,
        }
    }
}

/// Turns what was read into text.
pub struct Printer<'a> {
    /// How.
    pub format: &'a Format,
    /// Whether tables of namespaced kinds begin with the namespace.
    pub namespaces: bool,
    /// What tables show beside the resources.
    pub facts: Facts,
}

impl Printer<'_> {
    /// The text.
    pub fn print(&self, shown: &[Shown]) -> anyhow::Result<String> {
        match self.format {
            Format::Ps | Format::Wide | Format::CustomColumns(_) => {
                shown.iter().map(|shown| self.table(shown)).collect()
            }
            Format::Yaml => Ok(match shown {
                [one] => yaml::to_string(one),
                many => yaml::to_string(&many),
            }),
            Format::Json => Ok(match shown {
                [one] => json::to_string(one),
                many => json::to_string(&many),
            }),
            Format::Template(template) => {
                let value = serde_json::to_value(shown)?;
                let text = template.render(value, &self.facts)?;
                // COMPAT: upstream's templates are for YAML, and it checks what comes out.
                input::yaml::parse(&text)
                    .map_err(|error| anyhow!("the template's result is no YAML: {error}"))?;
                Ok(text)
            }
        }
    }

    fn table(&self, shown: &Shown) -> anyhow::Result<String> {
        let kind = shown.kind();
        let info = KindInfo::of(kind).ok_or_else(|| anyhow!("no table for {}", kind.name()))?;
        let mut columns: Vec<&Column> = self.headings(info)?;
        if let Some(namespace) = info.column("NAMESPACE").filter(|_| self.namespaces)
            && !columns.iter().any(|(heading, _)| *heading == "NAMESPACE")
        {
            columns.insert(0, namespace);
        }
        let mut table = Plain::new(columns.iter().map(|(heading, _)| *heading));
        for resource in shown.resources() {
            table.row(columns.iter().map(|(_, cell)| cell.of(resource, &self.facts)));
        }
        Ok(table.to_string())
    }

    fn headings(&self, info: &'static KindInfo) -> anyhow::Result<Vec<&'static Column>> {
        let known = |headings: &'static [&'static str]| {
            Ok(headings.iter().filter_map(|heading| info.column(heading)).collect())
        };
        match self.format {
            Format::CustomColumns(headings) => headings
                .iter()
                .map(|heading| {
                    info.column(heading).ok_or_else(|| {
                        let valid: Vec<&str> = info.columns.iter().map(|(name, _)| *name).collect();
                        let valid = valid.join(", ");
                        anyhow!("unknown heading {heading}, valid values are: {valid}")
                    })
                })
                .collect(),
            Format::Wide => known(info.wide),
            _ => known(info.narrow),
        }
    }
}
