use serde_json::json;

use super::*;

fn one(text: &str) -> Value {
    let mut all = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(all.len(), 1, "{text}");
    all.remove(0)
}

fn error(text: &str) -> String {
    parse(text).expect_err(text).to_string()
}

#[test]
fn values_are_read() {
    for (text, expected) in [
        ("a: {b: [1, two, 3.5, yes, ~]}", json!({"a": {"b": [1, "two", 3.5, true, null]}})),
        ("i-am: true", json!({"i-am": true})),
        ("n: 1\n", json!({"false": 1})),
        ("10: 1\n", json!({"10": 1})),
        ("metadata:\nspec: {}\n", json!({"metadata": null, "spec": {}})),
        ("a: 'y'\nb: \"1\"\nc: |\n  t\n  u\n", json!({"a": "y", "b": "1", "c": "t\nu\n"})),
        ("a: 2026-11-21\n", json!({"a": "2026-11-21"})),
        ("a: !!str 12\nb: !!int \"3\"\nc: ! 1\n", json!({"a": "12", "b": 3, "c": "1"})),
        ("a: &x {b: 1}\nc: *x\nd: {<<: *x, b: 2}\n", {
            json!({"a": {"b": 1}, "c": {"b": 1}, "d": {"b": 2}})
        }),
        ("- 1\n- a: 2\n  b: 3\n", json!([1, {"a": 2, "b": 3}])),
        ("asNumber: 1.10", json!({"asNumber": 1.1})),
        ("{\n\t\"a\": \"\\ud83d\\ude00\",\n\t\"b\": [1]\n}", json!({"a": "😀", "b": [1]})),
        ("a: b # c\n", json!({"a": "b"})),
        ("%YAML 1.1\n---\na: b\n", json!({"a": "b"})),
        ("a:\tb\nc: |\n  d:\te\nf:\t\"g:\th\"\n", json!({"a": "b", "c": "d:\te\n", "f": "g:\th"})),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
}

#[test]
fn an_unquoted_negation_is_the_text_that_was_meant() {
    for (text, expected) in [
        ("nodeSelector: !has(a-b)\nx: 1\n", json!({"nodeSelector": "!has(a-b)", "x": 1})),
        ("nodeSelector: !has(a)  # why\n", json!({"nodeSelector": "!has(a)"})),
        ("{nodeSelector: !has(example.com/a), x: 1}", {
            json!({"nodeSelector": "!has(example.com/a)", "x": 1})
        }),
        ("- !has(a)\n- b\n", json!(["!has(a)", "b"])),
    ] {
        assert_eq!(one(text), expected, "{text}");
    }
    let wrong = "a: 1\nnodeSelector: !has(a) && has(b)\n";
    assert!(error(wrong).starts_with("line 2: "), "{}", error(wrong));
    let expected = "line 1: the tag !(a is not supported; put the text into quotes if it is one";
    assert_eq!(error("s: !(a == 'b')\n"), expected);
    assert!(error("s: !x {a: 1}").contains("the tag !x is not supported"));
    assert!(error("s: !!binary aGk=").contains("the tag !!binary is not supported"));
}

#[test]
fn documents_are_split_at_lines_of_dashes() {
    for (text, expected) in [
        ("", vec![]),
        ("---\n", vec![]),
        ("---\na: 1\n---\nb: 2\n---\n", vec![json!({"a": 1}), json!({"b": 2})]),
        ("# about\n---\na: 1\n", vec![json!({"a": 1})]),
        ("a: 1\n---\n---\nb: 2", vec![json!({"a": 1}), json!({"b": 2})]),
        ("a: 1\n---\n\n---\nb: 2", vec![json!({"a": 1}), Value::Null, json!({"b": 2})]),
        ("a: 1\n--- # next\n# nothing\n", vec![json!({"a": 1}), Value::Null]),
        ("--- {a: 1}\n", vec![json!({"a": 1})]),
        ("a: |\n  x\n  ---\n", vec![json!({"a": "x\n---\n"})]),
        ("\n\n", vec![Value::Null]),
        ("a: 1\r\n---\r\nb: 2\r\n", vec![json!({"a": 1}), json!({"b": 2})]),
        ("\u{feff}a: 1", vec![json!({"a": 1})]),
    ] {
        assert_eq!(parse(text).expect(text), expected, "{text:?}");
    }
}

#[test]
fn errors_name_the_line_in_the_file() {
    assert!(error("a: 1\n---\nb: 2\nc: [1\n").starts_with("line "));
    let expected = "line 4: key \"b\" is already set in this map; remove one of the two";
    assert_eq!(error("a: 1\n---\nb: 2\nb: 3\n"), expected);
    assert!(error("a: {b: 1, b: 2}").contains("key \"b\""));
    assert!(error("{\"b\": 1, \"b\": 2}").contains("key \"b\""));
    assert_eq!(error("? [a]\n: 1\n"), "line 1: a key must be a plain word or text");
    assert_eq!(error("a: .nan"), "line 1: JSON knows no number .nan");
    assert!(error("a: &x [*x]").contains("line 1: "));
    assert!(error("a: b: c").starts_with("line 1: "));
    assert!(error("a: 1\n...\nb: 2\n").starts_with("line 3: a second document"));
}

#[test]
fn what_would_take_all_memory_is_refused() {
    let deep = "[".repeat(200) + &"]".repeat(200);
    assert!(error(&deep).contains("nested too deeply"));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for i in 1..10 {
        let item = format!("*a{}", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", [item.as_str(); 10].join(", "));
    }
    assert!(error(&bomb).contains("aliases make this document too large"));
    let large = format!("a: {}", "x".repeat(MAX_DOCUMENT));
    assert_eq!(error(&large), "the document at line 1 has more than 10 MB");
}

#[test]
fn what_is_written_is_read_back() {
    for text in [
        "",
        "y",
        "null",
        "12",
        "0x10",
        "2026-11-21",
        "!has(x)",
        "a: b",
        "- a",
        " a ",
        "a\tb",
        "a\nb",
        "a\nb\n",
        "a\n\nb\n\n",
        " a\nb",
        "\n",
        "é😀",
        "'",
        "\"\\",
        "1:2:3",
        "<<",
        "=",
        "...",
        "a #b",
        "\u{85}\u{2028}",
        "\r\n",
        "{",
        "%a",
        "@a",
        "`a",
        "?",
        "? a",
        "#",
        "~",
    ] {
        for value in [json!({"k": text}), json!({text: "v"}), json!([text, {"a": [text]}])] {
            let yaml = crate::output::yaml::to_string(&value);
            assert_eq!(parse(&yaml).expect(&yaml), [value], "{yaml}");
        }
    }
    let long = ["it's"; 60].join(" ");
    for text in
        [long.clone(), format!("- {long}"), format!("\t{long}  x"), format!("{long}\n{long}")]
    {
        let value = json!({"k": {"l": text}});
        let yaml = crate::output::yaml::to_string(&value);
        assert_eq!(one(&yaml), value, "{yaml}");
    }
}
