use super::*;

fn parse(text: &str) -> anyhow::Result<Rule> {
    Rule::parse(&text.split_whitespace().collect::<Vec<_>>())
}

/// Each rule, in the order of the grammar, and as it is stored.
const RULES: [(&str, &str); 12] = [
    ("allow", r#"{"action":"Allow","source":{},"destination":{}}"#),
    ("deny", r#"{"action":"Deny","source":{},"destination":{}}"#),
    (
        "allow from tag PROF_A",
        r#"{"action":"Allow","source":{"selector":"PROF_A == ''"},"destination":{}}"#,
    ),
    (
        "deny to cidr 10.0.0.0/8",
        r#"{"action":"Deny","source":{},"destination":{"nets":["10.0.0.0/8"]}}"#,
    ),
    (
        "allow tcp to ports 80",
        r#"{"action":"Allow","protocol":"TCP","source":{},"destination":{"ports":[80]}}"#,
    ),
    (
        "allow udp from ports 1,2,3:4 tag a cidr 10.0.0.0/24 to ports 53 tag b cidr 10.1.0.0/24",
        r#"{"action":"Allow","protocol":"UDP","source":{"nets":["10.0.0.0/24"],"selector":"a == ''","ports":[1,2,"3:4"]},"destination":{"nets":["10.1.0.0/24"],"selector":"b == ''","ports":[53]}}"#,
    ),
    ("allow tcp", r#"{"action":"Allow","protocol":"TCP","source":{},"destination":{}}"#),
    ("allow icmp", r#"{"action":"Allow","protocol":"ICMP","source":{},"destination":{}}"#),
    (
        "allow icmp type 8",
        r#"{"action":"Allow","protocol":"ICMP","icmp":{"type":8},"source":{},"destination":{}}"#,
    ),
    (
        "deny icmp type 3 code 4 from tag t",
        r#"{"action":"Deny","protocol":"ICMP","icmp":{"type":3,"code":4},"source":{"selector":"t == ''"},"destination":{}}"#,
    ),
    (
        "allow icmp type 128 from cidr fd00::/8",
        r#"{"action":"Allow","protocol":"ICMPv6","icmp":{"type":128},"source":{"nets":["fd00::/8"]},"destination":{}}"#,
    ),
    (
        "allow from tag a to tag b",
        r#"{"action":"Allow","source":{"selector":"a == ''"},"destination":{"selector":"b == ''"}}"#,
    ),
];

#[test]
fn every_rule_of_the_grammar_goes_out_and_comes_back() {
    for (text, stored) in RULES {
        let rule = parse(text).unwrap();
        assert_eq!(rule.to_string(), text);
        let written = rule.to_stored().unwrap();
        assert_eq!(serde_json::to_string(&written).unwrap(), stored, "{text}");
        assert_eq!(Known::of(&written), Known::Rule(rule.clone()), "{text}");
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule, "{json}");
    }
}

#[test]
fn the_words_of_one_side_may_come_in_any_order() {
    let rule = parse("allow tcp from cidr 10.0.0.1 tag a ports 80:80,90").unwrap();
    assert_eq!(rule.to_string(), "allow tcp from ports 80,90 tag a cidr 10.0.0.1/32");
    assert_eq!(parse("allow from to").unwrap(), parse("allow").unwrap());
}

#[test]
fn what_is_no_rule_is_refused_with_the_reason() {
    for (text, reason) in [
        ("", "begins with allow or deny"),
        ("permit", "permit"),
        ("allow sctp", "sctp"),
        ("allow to from", "from"),
        ("allow from ports 80", "Ports are not valid with protocol"),
        ("allow icmp to ports 80", "Ports are not valid with protocol"),
        ("allow tcp to ports 90:80", "90:80"),
        ("allow tcp to ports 65536", "65536"),
        ("allow tcp to ports", "ports has nothing behind it"),
        ("allow from tag a tag b", "twice"),
        ("allow from cidr 10.0.0", "10.0.0"),
        ("allow from cidr 10.0.0.0/8 to cidr fd00::/8", "families"),
        ("allow from tag a&b", "a&b"),
        ("allow icmp type 255", "255"),
        ("allow icmp code 1", "code"),
        ("allow tcp type 1", "type"),
    ] {
        let error = format!("{:#}", parse(text).unwrap_err());
        assert!(error.contains(reason), "{text}: {error}");
    }
}

#[test]
fn a_stored_rule_that_says_more_stays_as_it_is() {
    for stored in [
        r#"{"action":"Log","source":{},"destination":{}}"#,
        r#"{"action":"Allow","protocol":"SCTP"}"#,
        r#"{"action":"Allow","protocol":6}"#,
        r#"{"action":"Allow","protocol":"ICMPv6"}"#,
        r#"{"action":"Allow","ipVersion":4}"#,
        r#"{"action":"Allow","notProtocol":"TCP"}"#,
        r#"{"action":"Allow","source":{"selector":"a == 'b'"}}"#,
        r#"{"action":"Allow","source":{"selector":"has(a) && has(b)"}}"#,
        r#"{"action":"Allow","source":{"nets":["10.0.0.0/8","11.0.0.0/8"]}}"#,
        r#"{"action":"Allow","source":{"notNets":["10.0.0.0/8"]}}"#,
        r#"{"action":"Allow","protocol":"TCP","destination":{"ports":["http"]}}"#,
        r#"{"action":"Allow","http":{"methods":["GET"]}}"#,
    ] {
        let rule: Stored = serde_json::from_str(stored).unwrap();
        assert_eq!(Known::of(&rule).to_string(), stored);
    }
}

#[test]
fn the_selectors_of_other_tools_are_tags_too() {
    for selector in ["has(a)", "a == ''", "a == \\\"\\\""] {
        let text = format!(r#"{{"action":"Allow","source":{{"selector":"{selector}"}}}}"#);
        let rule: Stored = serde_json::from_str(&text).unwrap();
        assert_eq!(Known::of(&rule).to_string(), "allow from tag a", "{text}");
    }
}

#[test]
fn a_document_with_unknown_or_impossible_members_is_refused() {
    assert!(serde_json::from_str::<Rule>(r#"{"action":"allow","log_prefix":"x"}"#).is_err());
    let rule: Rule = serde_json::from_str(r#"{"action":"allow","dst_ports":[80]}"#).unwrap();
    assert!(rule.to_stored().is_err());
}
