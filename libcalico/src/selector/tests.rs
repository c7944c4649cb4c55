//! Every vector recorded from upstream, and what the vectors leave out.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::Selector;

#[derive(Deserialize)]
struct Golden {
    label_sets: Vec<BTreeMap<String, String>>,
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    selector: String,
    ok: bool,
    #[serde(default)]
    string: String,
    #[serde(default)]
    unique_id: String,
    #[serde(default)]
    matches: String,
}

#[test]
fn every_recorded_selector_means_what_it_means_upstream() {
    let golden: Golden =
        serde_json::from_str(include_str!("../../../tests/golden/selectors.json")).unwrap();
    assert_eq!(golden.vectors.len(), 213);
    for vector in golden.vectors {
        let text = &vector.selector;
        let selector = match Selector::parse(text) {
            Ok(selector) => selector,
            Err(error) => {
                assert!(!vector.ok, "{error}");
                continue;
            }
        };
        assert!(vector.ok, "{text:?} is no selector upstream");
        assert_eq!(selector.to_string(), vector.string, "{text:?}");
        assert_eq!(selector.unique_id(), vector.unique_id, "{text:?}");
        let matches: String = golden
            .label_sets
            .iter()
            .map(|labels| if selector.matches(labels) { '1' } else { '0' })
            .collect();
        assert_eq!(matches, vector.matches, "{text:?}");
        let again = Selector::parse(&selector.to_string()).unwrap();
        for labels in &golden.label_sets {
            assert_eq!(again.matches(labels), selector.matches(labels), "{text:?}");
        }
    }
}

#[test]
fn an_error_names_the_place_and_what_stands_there() {
    for (text, expected) in [
        (
            "a == b",
            r#"cannot read selector "a == b": found "b" at byte 5 where a string in quotes should be"#,
        ),
        ("has(a) &&", r#"found the end at byte 9 where a label, has(…), all() or '(' should be"#),
        ("a == 'b", r#"found a string without its closing quote at byte 5"#),
        ("a == 'b'\n", r#"found '\n' at byte 8 where '&&', '||' or the end should be"#),
        ("a inx {'b'}", r#"found "inx" at byte 2 where an operator like '==' or 'in' should be"#),
        ("ü == 'b'", r#"found "ü" at byte 0"#),
        ("a in {'b' 'c'}", r#"found "'c'}" at byte 10 where ',' or '}' should be"#),
    ] {
        let error = Selector::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}\nshould have: {expected}");
    }
}

#[test]
fn labels_have_at_most_512_characters() {
    let label = "x".repeat(512);
    assert!(Selector::parse(&format!("has({label})")).is_ok());
    assert!(Selector::parse(&format!("{label} == 'a'")).is_ok());
    assert!(Selector::parse(&format!("has({label}x)")).is_err());
    assert!(Selector::parse(&format!("{label}x == 'a'")).is_err());
}

#[test]
fn depth_ends_in_an_error_not_in_the_stack() {
    let nested = |depth: usize| format!("{}has(a){}", "!(".repeat(depth), ")".repeat(depth));
    assert!(Selector::parse(&nested(200)).is_ok());
    let error = Selector::parse(&nested(201)).unwrap_err();
    assert_eq!(error.expected, "at most 200 parentheses inside each other");
    assert!(Selector::parse(&"(".repeat(1_000_000)).is_err());
    assert!(Selector::parse(&format!("{}has(a)", "!".repeat(1_000_000))).is_ok());
    let long = vec!["has(a)"; 100_000].join(" && ");
    assert!(
        Selector::parse(&long).unwrap().matches(&BTreeMap::from([("a".to_owned(), String::new())]))
    );
}

/// A valid selector, in some spelling.
fn selectors() -> impl Strategy<Value = String> {
    let label = "[a-z./_-]{1,6}|in|has|not|all";
    let string = r#""[^"]{0,5}"|'[^']{0,5}'"#;
    let comparison = "==|!=| contains | starts  with|endswith ";
    let member = "in|not in|notin";
    let leaf = prop_oneof![
        Just("all()".to_owned()),
        Just("global( )".to_owned()),
        label.prop_map(|label| format!("has({label})")),
        (label, comparison, string).prop_map(|(label, op, value)| format!("{label} {op}{value}")),
        (label, member, prop::collection::vec(string, 0..4))
            .prop_map(|(label, op, values)| { format!("{label} {op} {{{}}}", values.join(" ,")) }),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|inner| format!("!{inner}")),
            inner.clone().prop_map(|inner| format!("! ({inner})")),
            prop::collection::vec(inner.clone(), 1..4)
                .prop_map(|list| format!("({})", list.join("&&"))),
            prop::collection::vec(inner, 1..4).prop_map(|list| format!("({})", list.join(" || "))),
        ]
    })
}

proptest! {
    #[test]
    fn canonical_text_means_the_same_and_stays_the_same(
        text in selectors(),
        labels in prop::collection::btree_map("[a-z./_-]{1,6}|in|has", "[a-z]{0,3}", 0..4),
    ) {
        let selector = Selector::parse(&text).unwrap();
        let canonical = Selector::parse(&selector.to_string()).unwrap();
        prop_assert_eq!(canonical.matches(&labels), selector.matches(&labels));
        let settled = Selector::parse(&canonical.to_string()).unwrap();
        prop_assert_eq!(settled.to_string(), canonical.to_string());
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in r#"[a-z"'(){}!=&|, \t\nü]{0,40}|\PC{0,40}"#) {
        if let Err(error) = Selector::parse(&text) {
            prop_assert!(error.position <= text.len());
        }
    }
}
