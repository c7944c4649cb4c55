//! Keeping secrets out of the bundle. Pure: texts in, texts out.
//!
//! Two nets, since either has holes. What stands behind a name like `password` or `token`, inside of
//! a private key, or between `://` and `@` is left out wherever it is; and the values that were
//! found so are left out wherever else they appear.

/// What stands in a secret's place.
const HIDDEN: &str = "(left out)";
/// Shorter values would also hit what is no secret.
const SHORTEST: usize = 4;
const SHORTEST_OF_KEY: usize = 10;

/// Leaves out what it was taught.
#[derive(Debug, Default)]
pub struct Redactor {
    values: Vec<String>,
}

impl Redactor {
    /// Remembers the secrets of a configuration.
    pub fn learn(&mut self, text: &str) {
        for part in text.split("PRIVATE KEY-----").skip(1).step_by(2) {
            // A line of a key, whether its ends are real or written as `\n`.
            let lines = part.split(|c: char| c.is_whitespace() || c == '\\' || c == '-');
            lines
                .map(|line| line.trim_start_matches('n'))
                .filter(|line| line.len() >= SHORTEST_OF_KEY)
                .for_each(|line| self.learn_value(line));
        }
        for line in text.lines() {
            for value in named(line) {
                self.learn_value(line.get(value).unwrap_or_default());
            }
            for user in users_of_urls(line) {
                let user = line.get(user).unwrap_or_default();
                self.learn_value(user.split_once(':').map_or(user, |(_, password)| password));
            }
        }
    }

    /// Remembers a secret.
    pub fn learn_value(&mut self, value: &str) {
        if value.len() >= SHORTEST && !self.values.iter().any(|known| known == value) {
            self.values.push(value.to_owned());
            // A value that contains another one goes first.
            self.values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        }
    }

    /// The text without its secrets.
    pub fn clean(&self, text: &str) -> String {
        let mut text = without_private_keys(text);
        for value in &self.values {
            text = text.replace(value, HIDDEN);
        }
        let mut cleaned = String::with_capacity(text.len());
        // A block of YAML that is a secret's value: lines that are indented deeper than its name.
        let mut hidden_below = None;
        for line in text.split_inclusive('\n') {
            let indent = line.len() - line.trim_start().len();
            match hidden_below {
                Some(name) if indent > name || line.trim().is_empty() => continue,
                _ => hidden_below = None,
            }
            if opens_block(line) {
                hidden_below = Some(indent);
            }
            clean_line(line, &mut cleaned);
        }
        cleaned
    }
}

fn clean_line(line: &str, cleaned: &mut String) {
    let mut at = 0;
    for secret in secrets(line) {
        // Secrets may lie in one another: `password: http://u:p@host`.
        if let (true, Some(before)) = (secret.start >= at, line.get(at..secret.start)) {
            cleaned.push_str(before);
            cleaned.push_str(HIDDEN);
        }
        at = at.max(secret.end);
    }
    cleaned.push_str(line.get(at..).unwrap_or_default());
}

/// Where the secrets of a line are, in their order.
fn secrets(line: &str) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<_> = named(line).chain(users_of_urls(line)).collect();
    found.retain(|range| !range.is_empty());
    found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    found
}

/// The values behind names of secrets.
fn named(line: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let rest = line.get(at..)?;
            let start = at + rest.find(is_word)?;
            let word = line.get(start..)?;
            let end = start + word.find(|c| !is_word(c)).unwrap_or(word.len());
            at = end;
            if is_secret(line.get(start..end)?) {
                let value = value_after(line, start, end);
                at = at.max(value.end);
                return Some(value);
            }
        }
    })
}

/// Whether a field, a variable or a flag of this name holds a secret.
pub fn is_secret(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    // The names of files are none, and neither is the reference to a Kubernetes secret.
    let is_reference = ["file", "path", "ref", "keyref"].iter().any(|end| plain.ends_with(end));
    let is_key = |name: &str| {
        ["etcdkey", "k8skey", "privatekey", "keydata"].iter().any(|end| name.ends_with(end))
    };
    !is_reference
        && (["password", "passwd", "passphrase", "secret", "token"]
            .iter()
            .any(|part| plain.contains(part))
            || is_key(&plain))
}

/// The value of the name at `start..end`: in quotes, or to the end of the line behind a `:` or `=`.
/// Prose that only mentions the word has none.
fn value_after(line: &str, start: usize, end: usize) -> std::ops::Range<usize> {
    let rest = line.get(end..).unwrap_or_default();
    // The name's own closing quote, which may be escaped.
    let unquoted = rest.trim_start_matches(['\\', '"', '\'']);
    let spaced = unquoted.trim_start();
    let assigned = spaced.strip_prefix([':', '=']);
    let is_flag = line.get(..start).is_some_and(|before| before.ends_with("--"))
        || line.get(start..).is_some_and(|name| name.starts_with("--"));
    let value = match assigned {
        Some(value) => value.trim_start(),
        None if is_flag || spaced.starts_with('"') => spaced,
        None => return end..end,
    };
    let from = line.len() - value.len();
    let escaped = value.strip_prefix("\\\"");
    if let Some(inner) = escaped {
        let length = inner.find("\\\"").unwrap_or(inner.trim_end().len());
        return from + 2..from + 2 + length;
    }
    let Some(quote) = value.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        let length = match is_flag && assigned.is_none() {
            true => value.find(char::is_whitespace).unwrap_or(value.len()),
            false => value.trim_end().len(),
        };
        return from..from + length;
    };
    let inner = value.get(1..).unwrap_or_default();
    let mut is_escaped = false;
    let length = inner.find(|c| match c {
        _ if is_escaped => {
            is_escaped = false;
            false
        }
        '\\' => {
            is_escaped = quote == '"';
            false
        }
        c => c == quote,
    });
    from + 1..from + 1 + length.unwrap_or(inner.trim_end().len())
}

/// `user:password` of URLs.
fn users_of_urls(line: &str) -> impl Iterator<Item = std::ops::Range<usize>> {
    line.match_indices("://").filter_map(|(at, _)| {
        let from = at + 3;
        let rest = line.get(from..)?;
        let end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'' | ',');
        let host = rest.get(..rest.find(end).unwrap_or(rest.len()))?;
        host.rfind('@').map(|length| from..from + length)
    })
}

/// Whether a line of YAML gives a secret's name a value in the lines below it.
fn opens_block(line: &str) -> bool {
    let Some((name, value)) = line.trim().split_once(':') else { return false };
    let value = value.trim();
    is_secret(name.trim_start_matches("- ")) && (value.starts_with(['|', '>']) || value.is_empty())
}

fn without_private_keys(text: &str) -> String {
    const END: &str = "-----END ";
    let mut cleaned = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("-----BEGIN ") {
        let (before, key) = rest.split_at(at);
        cleaned.push_str(before);
        let label = key.get(11..).and_then(|label| label.split("-----").next()).unwrap_or_default();
        let end = key.find(END).and_then(|end| {
            let label = end + END.len();
            Some(label + key.get(label..)?.find("-----")? + 5)
        });
        if label.ends_with("PRIVATE KEY") {
            cleaned.push_str(HIDDEN);
            // Half a key is a secret, too.
            rest = end.and_then(|end| key.get(end..)).unwrap_or_default();
        } else {
            let (kept, after) = key.split_at(11);
            cleaned.push_str(kept);
            rest = after;
        }
    }
    cleaned.push_str(rest);
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(text: &str) -> String {
        Redactor::default().clean(text)
    }

    #[test]
    fn named_values_are_left_out_in_every_spelling() {
        for (text, expected) in [
            (r#"{"etcd_password":"hunter2","mtu":1}"#, r#"{"etcd_password":"(left out)","mtu":1}"#),
            (r#"  "etcd_password": "a\"b, c" ,"#, r#"  "etcd_password": "(left out)" ,"#),
            ("etcdPassword: hunter 2, or 3\n", "etcdPassword: (left out)\n"),
            ("k8sAPIToken: 'a, b'\nmtu: 1", "k8sAPIToken: '(left out)'\nmtu: 1"),
            ("ETCD_PASSWORD=hunter2", "ETCD_PASSWORD=(left out)"),
            ("  password \"hunter2\"; # of the mesh", "  password \"(left out)\"; # of the mesh"),
            (r#"msg="{\"password\":\"x y\"}" n=1"#, r#"msg="{\"password\":\"(left out)\"}" n=1"#),
            ("etcdctl --password hunter2 get", "etcdctl --password (left out) get"),
            ("client-key-data: QUJD", "client-key-data: (left out)"),
            ("etcdKey: |\n  abc\n  def\nmtu: 1\n", "etcdKey: (left out)\nmtu: 1\n"),
            (
                "https://root:pw@10.0.0.1:2379,http://10.0.0.2",
                "https://(left out)@10.0.0.1:2379,http://10.0.0.2",
            ),
            ("password: ", "password: "),
        ] {
            assert_eq!(clean(text), expected, "{text}");
        }
    }

    #[test]
    fn names_of_files_and_prose_stay() {
        for text in [
            "etcd_key_file: /etc/calico/key.pem",
            "K8S_API_TOKEN_FILE=/run/token",
            "the password was refused by the server",
            "at http://10.0.0.1/a@b",
            "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----",
        ] {
            assert_eq!(clean(text), text);
        }
    }

    #[test]
    fn private_keys_are_left_out_whole_or_broken() {
        let certificate = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----";
        assert_eq!(clean(&format!("{certificate}{key}\nb")), format!("{certificate}(left out)\nb"));
        assert_eq!(clean(&format!("a {} b", key.replace('\n', "\\n"))), "a (left out) b");
        assert_eq!(clean("a -----BEGIN EC PRIVATE KEY-----\nabc"), "a (left out)");
    }

    #[test]
    fn what_was_learnt_is_left_out_everywhere() {
        let mut redactor = Redactor::default();
        redactor.learn("spec:\n  etcdPassword: hunter2\n  etcdEndpoints: http://me:geheim@h:1\n");
        redactor.learn_value("abc");
        assert_eq!(
            redactor.clean("tried hunter2 and me:geheim, abc"),
            "tried (left out) and me:(left out), abc"
        );
    }

    #[test]
    fn the_lines_of_keys_are_learnt() {
        let key = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIBno\n-----END EC PRIVATE KEY-----";
        for text in [key.to_owned(), format!("{{\"etcd_key\": \"{}\"}}", key.replace('\n', "\\n"))]
        {
            let mut redactor = Redactor::default();
            redactor.learn(&text);
            assert_eq!(redactor.clean("it was MHcCAQEEIBno."), "it was (left out).", "{text}");
        }
    }

    #[test]
    fn no_text_breaks_it() {
        for text in [
            "password",
            "password:",
            "password\"",
            "token: \"",
            "://@",
            "ü password: ü\"",
            "password=\\\"",
        ] {
            clean(text);
            Redactor::default().learn(text);
        }
    }
}
