//! From the errors of Kubernetes' API to what callers decide on (`reference/datamodel.md` section
//! 10.4, `reference/cni-plugin.md` section 6.4).

use serde::Deserialize;

use super::annotation::excerpt;
use crate::resources::codec::null_as_default;
use crate::store::{StoreError, StoreErrorKind};

/// A request that the API refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the Kubernetes API refused to {request} (status {status}): {message}")]
pub struct Failure {
    /// What kind of failure.
    pub kind: FailureKind,
    /// The status of the answer.
    pub status: u16,
    /// What was asked, like `patch pod shop/cart-0`.
    pub request: String,
    /// The API's own words.
    pub message: String,
}

/// The kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// It isn't there, or is another object of the same name by now.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Somebody changed it since it was read.
    Conflict,
    /// We may not.
    Unauthorized,
    /// The revision is too old to go on from: list again.
    Expired,
    /// The API has no such request.
    Unsupported,
    /// The API can't answer now: try again.
    Unavailable,
    /// Anything else.
    Refused,
}

/// The API's `Status` object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status {
    #[serde(rename = "message", deserialize_with = "null_as_default")]
    message: String,
    #[serde(rename = "reason", deserialize_with = "null_as_default")]
    reason: String,
    #[serde(rename = "details", deserialize_with = "null_as_default")]
    details: Details,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    #[serde(rename = "causes", deserialize_with = "null_as_default")]
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(rename = "field", deserialize_with = "null_as_default")]
    field: String,
}

impl Failure {
    /// Reads an answer whose status is none of success. A body that is no `Status`, as proxies have
    /// them, only leaves the number to go by.
    pub fn of(request: impl Into<String>, status: u16, body: &[u8]) -> Failure {
        let read: Status = serde_json::from_slice(body).unwrap_or_default();
        let message = match read.message.is_empty() {
            true => excerpt(String::from_utf8_lossy(body).trim()),
            false => read.message.clone(),
        };
        Failure { kind: kind(status, &read), status, request: request.into(), message }
    }

    /// As an error of a store, for what is no answer to a guarded change.
    pub fn store_error(&self) -> StoreError {
        let (kind, next) = match self.kind {
            FailureKind::Unauthorized => (
                StoreErrorKind::Unauthorized,
                "; see the rights of the plugin's service account, and whether its token is valid",
            ),
            FailureKind::Expired => (StoreErrorKind::Compacted, ""),
            FailureKind::Unavailable | FailureKind::Conflict => (StoreErrorKind::Unavailable, ""),
            FailureKind::NotFound
            | FailureKind::AlreadyExists
            | FailureKind::Unsupported
            | FailureKind::Refused => (StoreErrorKind::Invalid, ""),
        };
        StoreError::new(kind, format!("{self}{next}"))
    }
}

fn kind(status: u16, read: &Status) -> FailureKind {
    match status {
        404 => FailureKind::NotFound,
        401 | 403 => FailureKind::Unauthorized,
        409 if read.reason == "AlreadyExists" => FailureKind::AlreadyExists,
        // Another object has the name: what was asked about is gone.
        409 if read.message.contains("UID in precondition") => FailureKind::NotFound,
        409 => FailureKind::Conflict,
        410 => FailureKind::Expired,
        422 => invalid(&read.details.causes),
        405 | 415 => FailureKind::Unsupported,
        408 | 429 | 500..=599 => FailureKind::Unavailable,
        _ => FailureKind::Refused,
    }
}

/// A patch that names a uid or a revision says by it what it is about: if only that is wrong, the
/// object is another one, or has changed.
fn invalid(causes: &[Cause]) -> FailureKind {
    let only = |field: &str| !causes.is_empty() && causes.iter().all(|cause| cause.field == field);
    match () {
        () if only("metadata.uid") => FailureKind::NotFound,
        () if only("metadata.resourceVersion") => FailureKind::Conflict,
        () => FailureKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(status: u16, body: &Value) -> Failure {
        Failure::of("patch pod shop/cart-0", status, body.to_string().as_bytes())
    }

    fn causes(fields: &[&str]) -> Value {
        let causes: Vec<Value> = fields.iter().map(|field| json!({ "field": field })).collect();
        json!({"reason": "Invalid", "message": "m", "details": {"causes": causes}})
    }

    #[test]
    fn kinds_follow_from_status_reason_and_causes() {
        use FailureKind::*;
        let other_uid = "Operation cannot be fulfilled on pods \"cart-0\": Precondition failed: \
                         UID in precondition: u-1, UID in object meta: u-2";
        for (status, body, expected) in [
            (404, json!({"reason": "NotFound", "message": "m"}), NotFound),
            (401, json!({"reason": "Unauthorized"}), Unauthorized),
            (403, json!({"reason": "Forbidden"}), Unauthorized),
            (409, json!({"reason": "AlreadyExists"}), AlreadyExists),
            (409, json!({"reason": "Conflict", "message": "object was modified"}), Conflict),
            (409, json!({"reason": "Conflict", "message": other_uid}), NotFound),
            (410, json!({"reason": "Expired"}), Expired),
            (422, causes(&["metadata.uid"]), NotFound),
            (422, causes(&["metadata.resourceVersion"]), Conflict),
            (422, causes(&["metadata.uid", "metadata.resourceVersion"]), Refused),
            (422, causes(&["metadata.annotations"]), Refused),
            (422, causes(&[]), Refused),
            (405, json!({"reason": "MethodNotAllowed"}), Unsupported),
            (429, json!({"reason": "TooManyRequests"}), Unavailable),
            (500, json!({"reason": "InternalError"}), Unavailable),
            (503, json!({"reason": "ServiceUnavailable"}), Unavailable),
            (504, json!(null), Unavailable),
            (400, json!({"reason": "BadRequest", "details": null}), Refused),
        ] {
            assert_eq!(of(status, &body).kind, expected, "{status} {body}");
        }
    }

    #[test]
    fn the_message_names_request_status_and_the_apis_words() {
        let failure = of(403, &json!({"message": "pods \"cart-0\" is forbidden"}));
        assert_eq!(
            failure.to_string(),
            "the Kubernetes API refused to patch pod shop/cart-0 (status 403): pods \"cart-0\" is \
             forbidden"
        );
        let error = failure.store_error();
        assert_eq!(error.kind, StoreErrorKind::Unauthorized);
        assert!(error.message.contains("service account"), "{error}");
        // Of a proxy on the way.
        let failure = Failure::of("get pod a/b", 502, b"<html>bad gateway</html>\n");
        assert_eq!(failure.kind, FailureKind::Unavailable);
        assert!(failure.to_string().ends_with("<html>bad gateway</html>"), "{failure}");
        assert!(Failure::of("get pod a/b", 404, b"\xff\xfe").message.len() < 16);
    }
}
