use serde_json::Value;

use super::*;

#[test]
fn every_kind_is_found_by_its_own_name_and_by_its_plural() {
    for info in KINDS {
        for name in [info.kind.name(), info.kind.plural()] {
            let found = KindInfo::named(name).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.kind, info.kind);
        }
    }
}

#[test]
fn no_alias_belongs_to_two_kinds() {
    let mut all: Vec<&str> = KINDS.iter().flat_map(|info| info.aliases).copied().collect();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn every_heading_has_a_column() {
    for info in KINDS {
        for heading in info.narrow.iter().chain(info.wide) {
            assert!(info.column(heading).is_some(), "{} {heading}", info.kind.name());
        }
        assert_eq!(info.kind.namespaced(), info.column("NAMESPACE").is_some());
    }
}

#[test]
fn a_slip_of_the_pen_gets_a_suggestion() {
    let error = |name: &str| KindInfo::named(name).err().map(|error| error.to_string());
    let expected = "resource type 'ippol' is not supported: did you mean \"ippool\"?";
    assert_eq!(error("ippol").as_deref(), Some(expected));
    assert_eq!(error("all").as_deref(), Some("resource type 'all' is not supported"));
    assert_eq!(error("IPPools"), None);
}

#[test]
fn long_lists_are_cut_at_80_characters() {
    let nets: Vec<String> = (0..9).map(|i| format!("10.0.0.{i}/32")).collect();
    let short = Value::from(nets[..6].to_vec());
    assert_eq!(cell::join(Some(&short), |net| net.as_str().unwrap().to_owned()).len(), 71);
    let long = cell::join(Some(&Value::from(nets)), |net| net.as_str().unwrap().to_owned());
    assert_eq!(long.len(), 80);
    assert!(long.ends_with("10.0.0.5/32,10.0...."), "{long}");
}
