//! A rule in the grammar of the early documents, and as it is stored today
//! (`reference/calicoctl.md` section 2.4). No I/O here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use libcalico::resources::Extra;
use libcalico::resources::profile::Rule as Stored;
use libcalico::selector::Selector;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What a rule of the early documents can say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    #[serde(rename = "action")]
    action: Action,
    #[serde(rename = "protocol", default, skip_serializing_if = "Option::is_none")]
    protocol: Option<Protocol>,
    #[serde(rename = "src_tag", default, skip_serializing_if = "Option::is_none")]
    src_tag: Option<String>,
    #[serde(rename = "src_ports", default, skip_serializing_if = "Vec::is_empty")]
    src_ports: Vec<Ports>,
    #[serde(rename = "src_net", default, skip_serializing_if = "Option::is_none")]
    src_net: Option<IpNet>,
    #[serde(rename = "dst_tag", default, skip_serializing_if = "Option::is_none")]
    dst_tag: Option<String>,
    #[serde(rename = "dst_ports", default, skip_serializing_if = "Vec::is_empty")]
    dst_ports: Vec<Ports>,
    #[serde(rename = "dst_net", default, skip_serializing_if = "Option::is_none")]
    dst_net: Option<IpNet>,
    #[serde(rename = "icmp_type", default, skip_serializing_if = "Option::is_none")]
    icmp_type: Option<u8>,
    #[serde(rename = "icmp_code", default, skip_serializing_if = "Option::is_none")]
    icmp_code: Option<u8>,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Action {
    #[serde(rename = "allow")]
    Allow,
    #[serde(rename = "deny")]
    Deny,
}

/// A protocol that rules can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Protocol {
    #[serde(rename = "tcp")]
    Tcp,
    #[serde(rename = "udp")]
    Udp,
    #[serde(rename = "icmp")]
    Icmp,
}

/// A port, or ports from a first to a last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
struct Ports {
    first: u16,
    last: u16,
}

/// A rule that is stored: one that the grammar can say, or another one as it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Known {
    /// In the grammar.
    Rule(Rule),
    /// Beyond the grammar.
    Other(Stored),
}

impl Rule {
    fn new(action: Action) -> Rule {
        Rule {
            action,
            protocol: None,
            src_tag: None,
            src_ports: Vec::new(),
            src_net: None,
            dst_tag: None,
            dst_ports: Vec::new(),
            dst_net: None,
            icmp_type: None,
            icmp_code: None,
        }
    }

    /// Allows everything.
    pub fn allow() -> Rule {
        Rule::new(Action::Allow)
    }

    /// Allows what comes from endpoints with a tag.
    pub fn allow_from_tag(tag: &str) -> Rule {
        Rule { src_tag: Some(tag.to_owned()), ..Rule::new(Action::Allow) }
    }

    /// Reads the words of a rule.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> anyhow::Result<Rule> {
        let mut words = words.iter().map(AsRef::as_ref).peekable();
        let mut rule = Rule::new(match words.next() {
            Some("allow") => Action::Allow,
            Some("deny") => Action::Deny,
            Some(other) => bail!("a rule begins with allow or deny, not with {other:?}"),
            None => bail!("a rule begins with allow or deny"),
        });
        rule.protocol = match words.peek() {
            Some(&"tcp") => Some(Protocol::Tcp),
            Some(&"udp") => Some(Protocol::Udp),
            Some(&"icmp") => Some(Protocol::Icmp),
            _ => None,
        };
        if rule.protocol.is_some() {
            words.next();
        }
        if rule.protocol == Some(Protocol::Icmp) && words.next_if_eq(&"type").is_some() {
            rule.icmp_type = Some(icmp_number("type", words.next())?);
            if words.next_if_eq(&"code").is_some() {
                rule.icmp_code = Some(icmp_number("code", words.next())?);
            }
        }
        if words.next_if_eq(&"from").is_some() {
            (rule.src_ports, rule.src_tag, rule.src_net) = side(&mut words)?;
        }
        if words.next_if_eq(&"to").is_some() {
            (rule.dst_ports, rule.dst_tag, rule.dst_net) = side(&mut words)?;
        }
        if let Some(word) = words.next() {
            bail!("the rule has {word:?} where it can't be: see calicoctl profile rule add --help");
        }
        rule.check()?;
        Ok(rule)
    }

    /// Refuses what no packet can be.
    fn check(&self) -> anyhow::Result<()> {
        let has_ports = !self.src_ports.is_empty() || !self.dst_ports.is_empty();
        if has_ports && !matches!(self.protocol, Some(Protocol::Tcp | Protocol::Udp)) {
            bail!("Ports are not valid with protocol");
        }
        if self.protocol != Some(Protocol::Icmp) && self.icmp_type.is_some()
            || self.icmp_type.is_none() && self.icmp_code.is_some()
        {
            bail!("icmp_type needs the protocol icmp, and icmp_code needs icmp_type");
        }
        if let (Some(from), Some(to)) = (self.src_net, self.dst_net)
            && from.addr().is_ipv4() != to.addr().is_ipv4()
        {
            bail!("{from} and {to} are of different families");
        }
        for tag in [&self.src_tag, &self.dst_tag].into_iter().flatten() {
            Selector::parse(&selector(tag)).with_context(|| format!("tag {tag:?}"))?;
        }
        Ok(())
    }

    /// The rule as it is stored.
    pub fn to_stored(&self) -> anyhow::Result<Stored> {
        self.check()?;
        let mut fields = Extra::new();
        let action = match self.action {
            Action::Allow => "Allow",
            Action::Deny => "Deny",
        };
        fields.insert("action".into(), json!(action));
        let is_v6 = [self.src_net, self.dst_net].iter().flatten().any(|net| net.addr().is_ipv6());
        if let Some(protocol) = self.protocol {
            let protocol = match protocol {
                Protocol::Tcp => "TCP",
                Protocol::Udp => "UDP",
                Protocol::Icmp if is_v6 => "ICMPv6",
                Protocol::Icmp => "ICMP",
            };
            fields.insert("protocol".into(), json!(protocol));
        }
        if let Some(kind) = self.icmp_type {
            let mut icmp = Extra::new();
            icmp.insert("type".into(), json!(kind));
            icmp.extend(self.icmp_code.map(|code| ("code".to_owned(), json!(code))));
            fields.insert("icmp".into(), Value::Object(icmp));
        }
        for (name, tag, ports, net) in [
            ("source", &self.src_tag, &self.src_ports, self.src_net),
            ("destination", &self.dst_tag, &self.dst_ports, self.dst_net),
        ] {
            let mut side = Extra::new();
            if let Some(net) = net {
                side.insert("nets".into(), json!([net.to_string()]));
            }
            if let Some(tag) = tag {
                side.insert("selector".into(), json!(selector(tag)));
            }
            if !ports.is_empty() {
                side.insert("ports".into(), ports.iter().copied().map(Value::from).collect());
            }
            // An empty side is written too, as upstream does.
            fields.insert(name.into(), Value::Object(side));
        }
        Ok(Stored(fields))
    }

    /// Reads a stored rule; `None` if the grammar can't say all that it says.
    fn of_stored(stored: &Stored) -> Option<Rule> {
        let mut fields = stored.0.clone();
        let mut take = |name: &str| fields.shift_remove(name).filter(|value| !value.is_null());
        let mut rule = Rule::new(match take("action")?.as_str()? {
            "Allow" => Action::Allow,
            "Deny" => Action::Deny,
            _ => return None,
        });
        let protocol = take("protocol");
        let protocol = match &protocol {
            None => None,
            Some(protocol) => Some(protocol.as_str()?),
        };
        rule.protocol = match protocol {
            None => None,
            Some("TCP") => Some(Protocol::Tcp),
            Some("UDP") => Some(Protocol::Udp),
            Some("ICMP" | "ICMPv6") => Some(Protocol::Icmp),
            Some(_) => return None,
        };
        if let Some(Value::Object(mut icmp)) = take("icmp") {
            let mut number = |name: &str| match icmp.shift_remove(name) {
                None => Some(None),
                Some(number) => Some(Some(u8::try_from(number.as_u64()?).ok()?)),
            };
            rule.icmp_type = number("type")?;
            rule.icmp_code = number("code")?;
            if !icmp.is_empty() {
                return None;
            }
        }
        (rule.src_tag, rule.src_ports, rule.src_net) = side_of_stored(take("source"))?;
        (rule.dst_tag, rule.dst_ports, rule.dst_net) = side_of_stored(take("destination"))?;
        // The protocol follows from the addresses: where it doesn't, the rule is another one.
        let again = rule.to_stored().ok()?;
        let agrees = again.0.get("protocol").and_then(Value::as_str) == protocol;
        (fields.is_empty() && agrees).then_some(rule)
    }
}

impl Known {
    /// Reads a stored rule.
    pub fn of(stored: &Stored) -> Known {
        match Rule::of_stored(stored) {
            Some(rule) => Known::Rule(rule),
            None => Known::Other(stored.clone()),
        }
    }
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Known::Rule(rule) => rule.fmt(f),
            // What Felix does stands there, in today's words.
            Known::Other(stored) => write!(f, "{}", json!(stored)),
        }
    }
}

/// The selector that stands for a tag.
fn selector(tag: &str) -> String {
    format!("{tag} == ''")
}

/// The tag that a selector stands for.
fn tag_of(selector: &str) -> Option<&str> {
    let compared = selector.strip_suffix("== ''").or_else(|| selector.strip_suffix("== \"\""));
    let present = selector.strip_prefix("has(").and_then(|rest| rest.strip_suffix(')'));
    let tag = compared.or(present)?.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || ['_', '.', '-', '/'].contains(&c);
    (!tag.is_empty() && tag.chars().all(fits)).then_some(tag)
}

type Side = (Option<String>, Vec<Ports>, Option<IpNet>);

fn side_of_stored(side: Option<Value>) -> Option<Side> {
    let mut side = match side {
        None => Extra::new(),
        Some(Value::Object(side)) => side,
        Some(_) => return None,
    };
    let tag = match side.shift_remove("selector") {
        None => None,
        Some(selector) => match selector.as_str()? {
            "" => None,
            selector => Some(tag_of(selector)?.to_owned()),
        },
    };
    let ports = match side.shift_remove("ports") {
        None => Vec::new(),
        Some(ports) => serde_json::from_value(ports).ok()?,
    };
    let nets: Vec<IpNet> = match side.shift_remove("nets") {
        None => Vec::new(),
        Some(nets) => serde_json::from_value(nets).ok()?,
    };
    let fits = side.is_empty() && nets.len() <= 1;
    fits.then(|| (tag, ports, nets.first().copied()))
}

/// Reads what follows `from` or `to`.
fn side<'a>(
    words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
) -> anyhow::Result<(Vec<Ports>, Option<String>, Option<IpNet>)> {
    let (mut ports, mut tag, mut net) = (None, None, None);
    let known = |word: &&str| ["ports", "tag", "cidr"].contains(word);
    while let Some(key) = words.next_if(known) {
        let value = words.next().with_context(|| format!("{key} has nothing behind it"))?;
        let twice = match key {
            "ports" => {
                let list: Result<Vec<Ports>, _> = value.split(',').map(str::parse).collect();
                ports.replace(list?).is_some()
            }
            "tag" => tag.replace(value.to_owned()).is_some(),
            _ => {
                let host = || value.parse::<IpAddr>().ok().map(IpNet::from);
                let parsed = value.parse::<IpNet>().ok().or_else(host);
                let parsed = parsed.with_context(|| format!("cidr {value:?} is no range"))?;
                net.replace(parsed).is_some()
            }
        };
        if twice {
            bail!("{key} stands twice on one side of the rule");
        }
    }
    Ok((ports.unwrap_or_default(), tag, net))
}

fn icmp_number(what: &str, word: Option<&str>) -> anyhow::Result<u8> {
    let word = word.with_context(|| format!("icmp {what} has no number"))?;
    let number = word.parse::<u8>().ok().filter(|number| *number <= 254);
    number.with_context(|| format!("icmp {what} is {word:?}: it is a number from 0 to 254"))
}

impl FromStr for Ports {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Ports> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let port = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
        match port(first).zip(port(last)) {
            Some((first, last)) if first <= last => Ok(Ports { first, last }),
            _ => bail!("{text:?} is no port and no range of ports like 80:90"),
        }
    }
}

impl TryFrom<Value> for Ports {
    type Error = anyhow::Error;

    fn try_from(value: Value) -> anyhow::Result<Ports> {
        match value {
            Value::String(text) => text.parse(),
            Value::Number(number) => number.to_string().parse(),
            other => bail!("{other} is no port"),
        }
    }
}

impl From<Ports> for Value {
    fn from(ports: Ports) -> Value {
        match ports.first == ports.last {
            true => json!(ports.first),
            false => json!(ports.to_string()),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}:{}", self.first, self.last),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
        })?;
        if let Some(protocol) = self.protocol {
            f.write_str(match protocol {
                Protocol::Tcp => " tcp",
                Protocol::Udp => " udp",
                Protocol::Icmp => " icmp",
            })?;
        }
        if let Some(kind) = self.icmp_type {
            write!(f, " type {kind}")?;
        }
        if let Some(code) = self.icmp_code {
            write!(f, " code {code}")?;
        }
        for (word, ports, tag, net) in [
            ("from", &self.src_ports, &self.src_tag, self.src_net),
            ("to", &self.dst_ports, &self.dst_tag, self.dst_net),
        ] {
            if ports.is_empty() && tag.is_none() && net.is_none() {
                continue;
            }
            write!(f, " {word}")?;
            if !ports.is_empty() {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                write!(f, " ports {}", ports.join(","))?;
            }
            if let Some(tag) = tag {
                write!(f, " tag {tag}")?;
            }
            if let Some(net) = net {
                write!(f, " cidr {net}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
