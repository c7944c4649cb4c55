//! A line of the log, as upstream writes it: time (ours is UTC), level, process, component, place,
//! message, fields.

use std::borrow::Cow;
use std::fmt;

use libcalico::clock;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The format.
pub(super) struct Line {
    pub(super) component: &'static str,
}

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = clock::now();
        let metadata = event.metadata();
        let place = metadata.file().and_then(|file| file.rsplit('/').next()).unwrap_or("?");
        write!(
            line,
            "{} {:02}:{:02}:{:02}.{:03} [{}][{}] {}/{place} {}: ",
            now.date(),
            now.hour(),
            now.minute(),
            now.second(),
            now.millisecond(),
            metadata.level(),
            std::process::id(),
            self.component,
            metadata.line().unwrap_or(0),
        )?;
        context.field_format().format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// The text with every control character but the final newline written out: another program's
/// message must not look like a line of ours, or do things to a terminal.
pub(super) fn on_one_line(line: &[u8]) -> Cow<'_, [u8]> {
    let Some((b'\n', text)) = line.split_last() else { return Cow::Borrowed(line) };
    if !text.iter().any(u8::is_ascii_control) {
        return Cow::Borrowed(line);
    }
    let mut escaped = Vec::with_capacity(line.len() + 16);
    for byte in text {
        match byte.is_ascii_control() {
            true => escaped.extend(byte.escape_ascii()),
            false => escaped.push(*byte),
        }
    }
    escaped.push(b'\n');
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_several_lines_is_one_line_of_the_log() {
        for (text, expected) in [
            ("plain ü\n", "plain ü\n"),
            ("a\nb\r\n\n", "a\\nb\\r\\n\n"),
            ("\u{1b}[2J\n", "\\x1b[2J\n"),
            ("no end", "no end"),
            ("", ""),
        ] {
            assert_eq!(on_one_line(text.as_bytes()), expected.as_bytes(), "{text:?}");
        }
    }
}
