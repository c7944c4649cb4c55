//! The names that v3 gives to objects of v1, and of the early documents (`reference/calicoctl.md`
//! section 5.9).

use std::net::IpAddr;

use sha1::{Digest, Sha1};

/// A name as v3 allows it: lower case, `/` becomes `.`, anything else that is odd `-`. Where more
/// than letters' case has changed, the beginning of the old name's hash keeps it apart from others.
pub fn clean(name: &str) -> String {
    finish(name, &tidy(name))
}

/// The same for policies, whose names have no dots of their own.
pub fn clean_without_dots(name: &str) -> String {
    finish(name, tidy(name).replace('.', "-").trim_matches('-'))
}

fn tidy(name: &str) -> String {
    let allowed = |c: char| match c.to_ascii_lowercase() {
        '/' => '.',
        c if c.is_ascii_lowercase() || c.is_ascii_digit() || c == '.' || c == '-' => c,
        _ => '-',
    };
    let mut tidied = String::with_capacity(name.len());
    // Of a run of dots and dashes one dot is left, if there is any in it.
    let mut run = String::new();
    for c in name.chars().map(allowed) {
        if c == '.' || c == '-' {
            run.push(c);
            continue;
        }
        tidied.push_str(if run.contains('.') { "." } else { &run });
        run.clear();
        tidied.push(c);
    }
    tidied.trim_start_matches(['.', '-']).to_owned()
}

fn finish(original: &str, cleaned: &str) -> String {
    if cleaned == original.to_lowercase() {
        return cleaned.to_owned();
    }
    let digest = Sha1::digest(original.as_bytes());
    let hash: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    match cleaned {
        "" => hash,
        cleaned => format!("{cleaned}-{hash}"),
    }
}

/// A profile's name: that of a namespace of Kubernetes has a new prefix.
pub fn profile(name: &str) -> String {
    match name.strip_prefix("k8s_ns.") {
        Some(namespace) => format!("kns.{namespace}"),
        None => clean(name),
    }
}

/// An address as a name: dashes between its parts, all eight of them with four digits.
pub fn address(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => v4.to_string().replace('.', "-"),
        IpAddr::V6(v6) => v6.segments().map(|part| format!("{part:04x}")).join("-"),
    }
}

/// A range as a name.
pub fn range(cidr: &str) -> String {
    cidr.replace(['.', ':', '/'], "-")
}

/// A label's key: that of the namespace has a new name.
pub fn label(key: &str) -> String {
    key.replace("calico/k8s_ns", "projectcalico.org/namespace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_kept_apart() {
        // The hashes are those of sha1sum.
        for (name, expected) in [
            ("node-1", "node-1"),
            ("Node-1.Example", "node-1.example"),
            ("a--b", "a--b"),
            ("my_profile", "my-profile-fa086506"),
            ("a/b", "a.b-3ec69c85"),
            ("a.-_b", "a.b-96b9aa79"),
            ("-a-", "a-e62b78f7"),
            ("___", "bf295750"),
            ("ü", "94a759fd"),
        ] {
            assert_eq!(clean(name), expected, "{name}");
        }
        assert_eq!(clean_without_dots("web.front"), "web-front-5f25ffdb");
        assert_eq!(clean_without_dots("Web"), "web");
        assert_ne!(clean("a_b"), clean("a+b"));
        for odd in ["a/b", "-a-", "a..b", "._.", "A B", "PROF_A", "x".repeat(40).as_str()] {
            assert!(libcalico::names::is_valid_name(&clean(odd)), "{odd}");
        }
    }

    #[test]
    fn addresses_and_ranges_become_names() {
        assert_eq!(address("192.0.2.1".parse().unwrap()), "192-0-2-1");
        let v6 = "aa:bb::ff".parse().unwrap();
        assert_eq!(address(v6), "00aa-00bb-0000-0000-0000-0000-0000-00ff");
        assert_eq!(range("192.168.0.0/16"), "192-168-0-0-16");
        assert_eq!(range("fd80:24e2::/64"), "fd80-24e2---64");
        assert_eq!(profile("k8s_ns.kube-system"), "kns.kube-system");
        assert_eq!(label("calico/k8s_ns"), "projectcalico.org/namespace");
    }
}
