//! The codes of errors. Upstream has the specification's where its library finds the fault, and 999
//! for every fault of its own: fix 3 of `reference/cni-plugin.md` section 10. Ours has always the
//! one that says what kind of fault it is.

use serde_json::Value;

/// What upstream calls every fault of its own.
const ANY: u64 = 999;

/// Why the code of our error is not what it should be.
pub fn difference(step: &Value, code: u64) -> Option<String> {
    match step["cni_error_code"].as_u64() {
        Some(ANY) | None if code == ANY => Some("999 says nothing".to_owned()),
        Some(ANY) | None => None,
        Some(theirs) if theirs != code => Some(format!("code {code}, upstream's is {theirs}")),
        Some(_) => None,
    }
}
