//! JSON as upstream prints it: Go's escapes and floats, indented by two blanks.

use libcalico::resources::codec;
use serde::Serialize;

/// A value as indented JSON, without a newline at the end.
pub fn to_string<T: Serialize>(value: &T) -> String {
    // Bytes that were valid UTF-8 stay so: only blanks and newlines come in between.
    String::from_utf8_lossy(&indent(&codec::encode(value))).into_owned()
}

/// Compact JSON with a line for each member and element.
fn indent(compact: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(compact.len() * 2);
    let mut depth: usize = 0;
    let mut in_text = false;
    let mut escaped = false;
    let mut bytes = compact.iter().copied().peekable();
    let new_line = |out: &mut Vec<u8>, depth: usize| {
        out.push(b'\n');
        out.resize(out.len() + depth * 2, b' ');
    };
    while let Some(byte) = bytes.next() {
        if in_text {
            out.push(byte);
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        match byte {
            b'{' | b'[' => {
                out.push(byte);
                match bytes.next_if(|next| matches!(next, b'}' | b']')) {
                    Some(end) => out.push(end),
                    None => {
                        depth += 1;
                        new_line(&mut out, depth);
                    }
                }
            }
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => {
                out.push(byte);
                new_line(&mut out, depth);
            }
            b':' => out.extend(b": "),
            _ => {
                in_text = byte == b'"';
                out.push(byte);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn is_indented_as_go_does() {
        let value = json!({"a": [], "b": {}, "c": [1, {"d": "x:,{\"\\"}], "e": "<é>"});
        let expected = r#"{
  "a": [],
  "b": {},
  "c": [
    1,
    {
      "d": "x:,{\"\\"
    }
  ],
  "e": "\u003cé\u003e"
}"#;
        assert_eq!(to_string(&value), expected);
    }
}
