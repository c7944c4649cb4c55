//! The grammar of the early documents has a name in the middle: `profile P tag add T`. Here the
//! words are put into the order of the table of commands: `profile tag add P T`. And `node --ip=…`
//! was what `node run --ip=…` is today.

use std::ffi::OsString;

/// Flags that take the next word as their value, of those that can stand between these words.
const WITH_VALUE: [&str; 14] = [
    "--ip",
    "--ip6",
    "--as",
    "--node-image",
    "-l",
    "--log-level",
    "-c",
    "--config",
    "--context",
    "--host",
    "--orchestrator",
    "--workload",
    "--endpoint",
    "--interface",
];

/// Flags by which `node` alone started a node.
const OF_RUN: [&str; 5] = ["--ip", "--ip6", "--as", "--node-image", "--libnetwork"];

/// A command whose second word may be a name: the words that can't be one, and those that follow
/// a name.
struct Grammar {
    command: &'static str,
    verbs: &'static [&'static str],
    nouns: &'static [&'static str],
}

const GRAMMARS: [Grammar; 3] = [
    Grammar { command: "profile", verbs: &["show", "add", "remove"], nouns: &["tag", "rule"] },
    Grammar { command: "endpoint", verbs: &["show"], nouns: &["profile"] },
    Grammar {
        command: "container",
        verbs: &["add", "remove"],
        nouns: &["ip", "endpoint-id", "profile"],
    },
];

/// The arguments of the process, its name first, with the name behind the words that say what is to
/// be done with it.
pub fn in_order(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.into_iter().collect();
    let at = positions(&args);
    let word = |number: usize| at.get(number).and_then(|at| args.get(*at)?.to_str());
    if word(0) == Some("node") && word(1).is_none() && has_flag_of_run(&args) {
        args.insert(at[0] + 1, OsString::from("run"));
        return args;
    }
    let (Some(command), Some(name), Some(noun)) = (word(0), word(1), word(2)) else { return args };
    let is_named = GRAMMARS.iter().any(|grammar| {
        grammar.command == command
            && !grammar.verbs.contains(&name)
            && !grammar.nouns.contains(&name)
            && grammar.nouns.contains(&noun)
    });
    if !is_named {
        return args;
    }
    // An endpoint is looked for: its id is one condition of several.
    let prefix = if command == "endpoint" { "--endpoint=" } else { "" };
    let mut named = OsString::from(prefix);
    let (from, to) = (at[1], at.get(3).copied().unwrap_or(at[2]));
    named.push(args.remove(from));
    // What stood behind the name has moved up by one: `to` is now the place behind it.
    args.insert(to, named);
    args
}

/// Whether there is a flag by which a node was started when `node` alone did that.
fn has_flag_of_run(args: &[OsString]) -> bool {
    let flags = args.iter().filter_map(|arg| arg.to_str()?.split('=').next());
    flags.into_iter().any(|flag| OF_RUN.contains(&flag))
}

/// Where the first words are that are neither flags nor values of flags.
fn positions(args: &[OsString]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut is_value = false;
    for (at, arg) in args.iter().enumerate().skip(1) {
        let text = arg.to_str().unwrap_or_default();
        if is_value {
            is_value = false;
        } else if text == "--" {
            break;
        } else if text.starts_with('-') {
            is_value = WITH_VALUE.contains(&text);
        } else {
            found.push(at);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(line: &str) -> String {
        let args = ["calicoctl"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        let words: Vec<String> =
            in_order(args).into_iter().skip(1).map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn a_name_goes_behind_what_is_done_with_it() {
        for (early, today) in [
            ("profile web tag show", "profile tag show web"),
            ("profile web tag add db", "profile tag add web db"),
            ("-l debug profile web rule json", "-l debug profile rule json web"),
            (
                "profile --config=f web rule add inbound --at=1 allow tcp to ports 80",
                "profile --config=f rule add web inbound --at=1 allow tcp to ports 80",
            ),
            ("profile web rule remove outbound allow", "profile rule remove web outbound allow"),
            ("container c1 ip add 10.0.0.1", "container ip add c1 10.0.0.1"),
            (
                "container c1 ip add --interface eth2 10.0.0.1",
                "container ip add c1 --interface eth2 10.0.0.1",
            ),
            ("container c1 endpoint-id show", "container endpoint-id show c1"),
            ("container c1 profile set a b", "container profile set c1 a b"),
            (
                "endpoint e1 profile append --host=h a b",
                "endpoint profile append --endpoint=e1 --host=h a b",
            ),
            ("endpoint --host h e1 profile show", "endpoint --host h profile show --endpoint=e1"),
        ] {
            assert_eq!(ordered(early), today, "{early}");
            assert_eq!(ordered(today), today);
        }
    }

    #[test]
    fn words_that_are_in_order_stay_there() {
        for line in [
            "",
            "profile",
            "profile add tag",
            "profile remove rule",
            "profile show --detailed",
            "container add ip 10.0.0.1",
            "container remove profile",
            "endpoint show --endpoint e1",
            "get profile tag show",
            "profile web",
            "profile web labels show",
            "profile -- web tag show",
        ] {
            assert_eq!(ordered(line), line);
        }
    }

    #[test]
    fn node_alone_starts_a_node() {
        assert_eq!(ordered("node --ip=10.0.0.1 --as=64512"), "node run --ip=10.0.0.1 --as=64512");
        assert_eq!(ordered("-c f node --ip 10.0.0.1"), "-c f node run --ip 10.0.0.1");
        for line in ["node", "node --help", "node status", "node run --ip=10.0.0.1", "node stop"] {
            assert_eq!(ordered(line), line);
        }
    }

    #[test]
    fn a_line_that_ends_too_early_loses_nothing() {
        assert_eq!(ordered("profile web tag"), "profile tag web");
        assert_eq!(ordered("endpoint e1 profile"), "endpoint profile --endpoint=e1");
    }
}
