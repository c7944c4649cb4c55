//! `CNI_ARGS`: pairs of a key and a value for this one call (`cni-plugin.md` section 1.3).

use std::{fmt, str::FromStr};

use crate::{Error, code, error};

/// The pairs of `CNI_ARGS`, in their order. Unknown keys do no harm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, String)>);

/// Why a text is no list of pairs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// A pair without `=`, or without a key.
    #[error("CNI_ARGS: {pair:?} is no pair of a key and a value; write KEY=VALUE;KEY=VALUE")]
    NoPair {
        /// The pair as it stands.
        pair: String,
    },
    /// Two pairs with the key `IP`: which address is meant?
    #[error("CNI_ARGS: two values for {key}, {first:?} and {second:?}; give one")]
    Twice {
        /// The key.
        key: &'static str,
        /// Its first value.
        first: String,
        /// Its second value.
        second: String,
    },
}

impl From<ArgsError> for Error {
    fn from(error: ArgsError) -> Self {
        Error::new(code::INVALID_ENVIRONMENT, error.to_string())
    }
}

impl FromStr for Args {
    type Err = ArgsError;

    /// Reads pairs that `;` separates, each split at its first `=`. Empty pairs are skipped.
    fn from_str(text: &str) -> Result<Self, ArgsError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split(';').filter(|pair| !pair.trim().is_empty()) {
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, _)| !key.is_empty())
                .ok_or_else(|| ArgsError::NoPair { pair: error::excerpt(pair) })?;
            if key == "IP"
                && let Some((_, first)) = pairs.iter().find(|(known, _)| known == key)
            {
                let (first, second) = (error::excerpt(first), error::excerpt(value));
                return Err(ArgsError::Twice { key: "IP", first, second });
            }
            pairs.push((key.to_owned(), value.to_owned()));
        }
        Ok(Args(pairs))
    }
}

impl Args {
    /// The value of a key, the last one if it stands there twice; keys are case-sensitive.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// All pairs in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// The same pairs with `key` set to `value` at the end, and its old values gone.
    pub fn with(mut self, key: &str, value: &str) -> Self {
        self.0.retain(|(known, _)| known != key);
        self.0.push((key.to_owned(), value.to_owned()));
        self
    }

    /// The same pairs behind `IgnoreUnknown=1`, without which Go plugins refuse keys that they
    /// don't know.
    pub fn ignoring_unknown(mut self) -> Self {
        self.0.retain(|(known, _)| known != "IgnoreUnknown");
        self.0.insert(0, ("IgnoreUnknown".to_owned(), "1".to_owned()));
        self
    }
}

impl fmt::Display for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ";" };
            write!(f, "{separator}{key}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn args(text: &str) -> Args {
        text.parse().unwrap()
    }

    #[test]
    fn pairs_come_in_any_order() {
        for text in ["K8S_POD_NAME=cart-0;IP=10.0.0.1", "IP=10.0.0.1;K8S_POD_NAME=cart-0;"] {
            assert_eq!(args(text).get("K8S_POD_NAME"), Some("cart-0"));
            assert_eq!(args(text).get("IP"), Some("10.0.0.1"));
            assert_eq!(args(text).get("ip"), None);
        }
    }

    #[test]
    fn a_value_may_hold_equals_signs_or_nothing() {
        assert_eq!(args("A=b=c==;D=").get("A"), Some("b=c=="));
        assert_eq!(args("A=b=c==;D=").get("D"), Some(""));
    }

    #[test]
    fn the_last_value_counts() {
        assert_eq!(args("A=1;A=2").get("A"), Some("2"));
    }

    #[test]
    fn empty_text_and_empty_pairs_are_fine() {
        for text in ["", ";", ";;A=1;;", "A=1; "] {
            assert!(text.parse::<Args>().is_ok(), "{text:?}");
        }
    }

    #[test]
    fn a_pair_without_a_key_or_sign_is_named() {
        for (text, named) in [("A", "\"A\""), ("X=1;lost;Y=2", "\"lost\""), ("=v", "\"=v\"")] {
            let error = Error::from(text.parse::<Args>().unwrap_err());
            assert_eq!(error.code, code::INVALID_ENVIRONMENT);
            assert!(error.msg.contains(named) && error.msg.contains("CNI_ARGS"), "{error}");
        }
    }

    #[test]
    fn two_addresses_are_refused() {
        let error = "IP=10.0.0.1;IP=10.0.0.2".parse::<Args>().unwrap_err();
        assert_eq!(
            error,
            ArgsError::Twice { key: "IP", first: "10.0.0.1".into(), second: "10.0.0.2".into() }
        );
    }

    #[test]
    fn go_plugins_are_told_to_ignore_unknown_keys() {
        let told = args("A=1;IgnoreUnknown=0;B=2").ignoring_unknown();
        assert_eq!(told.to_string(), "IgnoreUnknown=1;A=1;B=2");
        assert_eq!(Args::default().ignoring_unknown().to_string(), "IgnoreUnknown=1");
        assert_eq!(args("IP=::1;A=1").with("IP", "::2").to_string(), "A=1;IP=::2");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in ".*") {
            if let Ok(args) = text.parse::<Args>() {
                prop_assert_eq!(args.to_string().parse::<Args>(), Ok(args));
            }
        }
    }
}
