use serde_json::json;

use super::*;

fn member(text: &str) -> String {
    let yaml = to_string(&json!({"k": text}));
    yaml.strip_prefix("k: ").unwrap().strip_suffix('\n').unwrap().to_owned()
}

#[test]
fn texts_get_quotes_where_they_need_them() {
    for (text, expected) in [
        ("all()", "all()"),
        ("", "\"\""),
        ("y", "\"y\""),
        ("null", "\"null\""),
        ("12", "\"12\""),
        ("1.10", "\"1.10\""),
        ("0x10", "\"0x10\""),
        ("2026-11-21T15:04:05Z", "\"2026-11-21T15:04:05Z\""),
        ("64512:1:2", "\"64512:1:2\""),
        ("64512:100", "64512:100"),
        ("fe80::1", "fe80::1"),
        ("2001:db8::/64", "2001:db8::/64"),
        ("!has(x)", "'!has(x)'"),
        ("*.calico", "'*.calico'"),
        ("veth*", "veth*"),
        ("[::1]:179", "'[::1]:179'"),
        ("it's", "it's"),
        ("'it''s", "'''it''''s'"),
        ("a: b", "'a: b'"),
        ("a #b", "'a #b'"),
        ("a#b", "a#b"),
        ("- a", "'- a'"),
        ("-a", "-a"),
        ("---", "'---'"),
        (" a", "' a'"),
        ("a ", "'a '"),
        ("a\tb", "\"a\\tb\""),
        ("a\u{7f}", "\"a\\x7F\""),
        ("é", "é"),
        ("😀", "\"\\U0001F600\""),
        ("<&>\"\\", "<&>\"\\"),
        ("a\nb", "|-\n  a\n  b"),
        ("a\nb\n", "|\n  a\n  b"),
        ("a\n\nb\n\n", "|+\n  a\n\n  b\n"),
        (" a\nb", "|2-\n   a\n  b"),
        ("a \nb", "\"a \\nb\""),
    ] {
        assert_eq!(member(text), expected, "{text:?}");
    }
}

#[test]
fn long_texts_are_folded_after_80_characters() {
    let words = ["word"; 40].join(" ");
    let yaml = member(&words);
    let lines: Vec<&str> = yaml.lines().collect();
    // The first line has the key before it: the first blank beyond column 80 ends it.
    assert_eq!(lines[0].len() + 3, 82);
    assert!(lines[1..].iter().all(|line| line.starts_with("  word")));
    let quoted = member(&format!("- {words}"));
    assert!(quoted.starts_with("'- word") && quoted.contains("\n  word"));
    let escaped = member(&format!("\t{words}"));
    assert!(escaped.starts_with("\"\\tword") && escaped.contains("\n  word"));
}

#[test]
fn lists_stand_at_the_indent_of_their_key() {
    let value = json!({"b": [{"y": 1, "x": [[1, 2], []]}, "t"], "a": {"c": {}, "d": null}});
    let expected = "\
a:
  c: {}
  d: null
b:
- x:
  - - 1
    - 2
  - []
  y: 1
- t
";
    assert_eq!(to_string(&value), expected);
    assert_eq!(to_string(&json!([])), "[]\n");
    assert_eq!(to_string(&json!([{"a": 1}, {"a": 2}])), "- a: 1\n- a: 2\n");
}

#[test]
fn numbers_are_printed_as_go_does() {
    let text = |value: Value| to_string(&json!({ "k": value }));
    assert_eq!(text(json!(1_000_000)), "k: 1000000\n");
    assert_eq!(text(json!(1e21)), "k: 1e+21\n");
    assert_eq!(text(json!(123.25)), "k: 123.25\n");
    assert_eq!(text(json!(u64::MAX)), "k: 18446744073709551615\n");
}

#[test]
fn keys_are_in_natural_order() {
    let mut keys = ["b10", "b9", "B", "a", "_", "a1", "b", "aa", "a-b", "a.b", "10", "9", "b0"];
    keys.sort_by(|a, b| compare_keys(a, b));
    let expected = ["_", "9", "10", "B", "a", "a-b", "a.b", "a1", "aa", "b", "b0", "b9", "b10"];
    assert_eq!(keys, expected);
}

#[test]
fn a_very_long_key_gets_its_own_line() {
    let key = "k".repeat(129);
    let mut map = Map::new();
    map.insert(key.clone(), json!("v"));
    assert_eq!(to_string(&map), format!("? {key}\n: v\n"));
}
