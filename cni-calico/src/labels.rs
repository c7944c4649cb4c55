//! Labels that Mesos gives a container (`reference/cni-plugin.md` section 3.8).

use serde_json::Value;

/// The raw key that names a namespace instead of a label.
const NAMESPACE_KEY: &str = "projectcalico.org/namespace";

/// What `args."org.apache.mesos"` says of a container.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct MesosLabels {
    /// The labels, made fit for Kubernetes' rules.
    pub labels: Vec<(String, String)>,
    /// The endpoint's namespace.
    pub namespace: Option<String>,
}

/// Reads `args."org.apache.mesos".network_info.labels.labels[]`; anything else is no label.
pub fn mesos_labels(args: &Value) -> MesosLabels {
    let mut read = MesosLabels::default();
    let path = ["org.apache.mesos", "network_info", "labels", "labels"];
    let list = path.iter().try_fold(args, |value, name| cni::member(value, name));
    let list = list.and_then(Value::as_array);
    for label in list.into_iter().flatten() {
        let text = |name| cni::member(label, name).and_then(Value::as_str).unwrap_or_default();
        let value = sanitise(text("value"));
        match text("key") {
            NAMESPACE_KEY => read.namespace = Some(value),
            key => read.labels.push((sanitise(key), value)),
        }
    }
    read
}

/// Makes a text fit for a label: `/` becomes `.`, a run of other foreign characters one `-`, a run
/// of `.` and `-` with a `.` in it one `.`, and neither stands at an end.
fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut foreign = false;
    for c in text.chars() {
        let c = if c == '/' { '.' } else { c };
        let known = c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if known {
            clean.push(c);
        } else if !foreign {
            clean.push('-');
        }
        foreign = !known;
    }
    let mut out = String::with_capacity(clean.len());
    let mut rest = clean.as_str();
    while !rest.is_empty() {
        let run = rest.len() - rest.trim_start_matches(['.', '-']).len();
        let (separators, after) = rest.split_at(run);
        out.push_str(if separators.contains('.') { "." } else { separators });
        let plain = after.len() - after.trim_start_matches(|c| c != '.' && c != '-').len();
        let (word, after) = after.split_at(plain);
        out.push_str(word);
        rest = after;
    }
    out.trim_matches(['.', '-']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_vectors() {
        for (raw, clean) in [
            ("k", "k"),
            ("-my-val", "my-val"),
            ("$my..val", "my.val"),
            ("m$y.val", "m-y.val"),
            ("//my/val/", "my.val"),
            ("/a/b/c", "a.b.c"),
            ("a--b", "a--b"),
            ("a-.-b", "a.b"),
            ("$$", ""),
            ("some_val-with.lots*of^weird#characters", "some_val-with.lots-of-weird-characters"),
        ] {
            assert_eq!(sanitise(raw), clean, "{raw}");
        }
    }

    #[test]
    fn labels_and_namespace_are_told_apart_by_the_raw_key() {
        let args = serde_json::json!({"org.apache.mesos": {"network_info": {"labels": {"labels": [
            {"key": "Weird key", "value": "a b/c"},
            {"key": "k", "value": ""},
            {"key": "projectcalico.org/namespace", "value": "shop"},
        ]}}}});
        assert_eq!(
            mesos_labels(&args),
            MesosLabels {
                labels: vec![("Weird-key".into(), "a-b.c".into()), ("k".into(), String::new())],
                namespace: Some("shop".into()),
            }
        );
        assert_eq!(mesos_labels(&Value::Null), MesosLabels::default());
    }
}
