//! The name of a WorkloadEndpoint (`reference/cni-plugin.md` section 2.2): segments joined by a
//! dash, with the dashes inside a segment doubled.

/// What the name of an endpoint is made of. Empty stands for unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct WorkloadEndpointName {
    /// The node.
    pub node: String,
    /// Who made the container: `k8s`, `cni`, `libnetwork` or another.
    pub orchestrator: String,
    /// The name of the interface in the container.
    pub endpoint: String,
    /// The workload, for other orchestrators.
    pub workload: String,
    /// The pod, for `k8s`.
    pub pod: String,
    /// The container, for `cni`.
    pub container_id: String,
}

/// Identifiers of which no name can be made, or a name that no identifiers have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NameError {
    #[error("the {field} is missing, and the endpoint's name is made of it")]
    Missing { field: &'static str },
    #[error("the {field} {value:?} begins or ends with '-', which an endpoint's name cannot hold")]
    Dash { field: &'static str, value: String },
    #[error("the endpoint name {name:?} is empty or has more than four parts")]
    Malformed { name: String },
    #[error("the endpoint {name:?} has no namespace or not four parts, so it has no status file")]
    NoStatus { name: String },
}

impl NameError {
    /// The field that is wrong.
    pub fn field(&self) -> &'static str {
        match self {
            NameError::Missing { field } | NameError::Dash { field, .. } => field,
            NameError::Malformed { .. } | NameError::NoStatus { .. } => "name",
        }
    }

    /// Its value.
    pub fn value(&self) -> &str {
        match self {
            NameError::Missing { .. } => "",
            NameError::Dash { value, .. } => value,
            NameError::Malformed { name } | NameError::NoStatus { name } => name,
        }
    }
}

impl WorkloadEndpointName {
    /// The whole name. Every segment must be there.
    pub fn name(&self) -> Result<String, NameError> {
        let segments = self.segments();
        if let Some((field, _)) = segments.iter().find(|(_, value)| value.is_empty()) {
            return Err(NameError::Missing { field });
        }
        join(&segments)
    }

    /// What all names with the known segments begin with; the whole name if all are known. What a
    /// list with it finds must go through [`WorkloadEndpointName::matches`]: `n1-` also begins the
    /// endpoints of node `n1-x`, and those of pod `web` begin those of `web-1`.
    pub fn name_prefix(&self) -> Result<String, NameError> {
        let segments = self.segments();
        let known = segments.iter().take_while(|(_, value)| !value.is_empty()).count();
        match known {
            0 => Err(NameError::Missing { field: "node" }),
            4 => join(&segments),
            known => Ok(join(&segments[..known])? + "-"),
        }
    }

    /// Reads a name of one to four parts.
    pub fn parse(name: &str) -> Result<WorkloadEndpointName, NameError> {
        let mut parts = split(name).into_iter();
        if name.is_empty() || parts.len() > 4 {
            return Err(NameError::Malformed { name: name.to_owned() });
        }
        let mut next = || parts.next().unwrap_or_default();
        let (node, orchestrator, third, endpoint) = (next(), next(), next(), next());
        let mut parsed = WorkloadEndpointName {
            node,
            orchestrator,
            endpoint,
            ..WorkloadEndpointName::default()
        };
        match parsed.orchestrator.as_str() {
            "k8s" => parsed.pod = third,
            "cni" => parsed.container_id = third,
            "libnetwork" => {}
            _ => parsed.workload = third,
        }
        Ok(parsed)
    }

    /// Whether a name agrees with every segment that is known.
    pub fn matches(&self, name: &str) -> Result<bool, NameError> {
        if self.node.is_empty() {
            return Err(NameError::Missing { field: "node" });
        }
        let parts = split(name);
        let segments = self.segments();
        let agrees =
            |((_, known), part): (&(&str, &str), &String)| known.is_empty() || known == part;
        Ok(parts.len() == segments.len() && segments.iter().zip(&parts).all(agrees))
    }

    /// The segments in their order, each with the name of its field.
    fn segments(&self) -> [(&'static str, &str); 4] {
        let third = match self.orchestrator.as_str() {
            "k8s" => ("pod", self.pod.as_str()),
            "cni" => ("containerID", self.container_id.as_str()),
            "libnetwork" => ("workload", "libnetwork"),
            _ => ("workload", self.workload.as_str()),
        };
        [
            ("node", &self.node),
            ("orchestrator", &self.orchestrator),
            third,
            ("endpoint", &self.endpoint),
        ]
    }
}

/// The file that Felix makes once it has programmed an endpoint, in its folder of endpoint states.
pub fn endpoint_status_file(namespace: &str, name: &str) -> Result<String, NameError> {
    let parts = split(name);
    match parts.as_slice() {
        [_, orchestrator, workload, endpoint] if !namespace.is_empty() => {
            let workload = format!("{namespace}/{workload}");
            Ok([orchestrator, &workload, endpoint].map(|part| escape_path(part)).join(" "))
        }
        _ => Err(NameError::NoStatus { name: name.to_owned() }),
    }
}

/// Escapes a segment of a URL's path, as Go's `url.PathEscape` does.
fn escape_path(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => escaped.push(char::from(byte)),
            b'-' | b'_' | b'.' | b'~' | b'$' | b'&' | b'+' | b'=' | b':' | b'@' => {
                escaped.push(char::from(byte));
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

fn join(segments: &[(&'static str, &str)]) -> Result<String, NameError> {
    let mut name = String::new();
    for (at, (field, value)) in segments.iter().enumerate() {
        if value.starts_with('-') || value.ends_with('-') {
            return Err(NameError::Dash { field, value: (*value).to_owned() });
        }
        if at > 0 {
            name.push('-');
        }
        name.push_str(&value.replace('-', "--"));
    }
    Ok(name)
}

/// The parts of a name. The first character is never a separator, as upstream has it.
fn split(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = name.chars().peekable();
    let mut first = true;
    while let Some(c) = chars.next() {
        let separates = c == '-' && !first && chars.next_if_eq(&'-').is_none();
        first = false;
        match parts.last_mut() {
            Some(part) if !separates => part.push(c),
            _ => parts.push(String::new()),
        }
    }
    parts
}
