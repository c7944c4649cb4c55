//! How long each step of a verb took: one line at debug level.
//!
//! A step is a span of `tracing` in one of our crates (`debug_span!("read")`). At other levels there
//! are no spans, and nothing is measured.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::{Subscriber, span};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

/// The steps that have ended, in their order. A process runs one verb.
static ENDED: Mutex<Vec<Step>> = Mutex::new(Vec::new());

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    name: &'static str,
    took: Duration,
    times: u32,
}

/// Measures spans.
pub(super) struct Steps;

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Steps {
    fn on_new_span(&self, _: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Instant::now());
        }
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(begun) = span.extensions().get::<Instant>().copied() else { return };
        let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut ended, span.metadata().name(), begun.elapsed());
    }
}

/// A step that is done more than once is one entry.
fn add(steps: &mut Vec<Step>, name: &'static str, took: Duration) {
    match steps.iter_mut().find(|step| step.name == name) {
        Some(step) => {
            step.took += took;
            step.times += 1;
        }
        None => steps.push(Step { name, took, times: 1 }),
    }
}

/// Writes how long the verb took, and each step of it. Steps overlap, and one may be part of
/// another.
pub fn report(verb: &str, whole: Duration) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::debug!("{verb} took {}{}", ms(whole), list(&ended));
    }
}

fn list(steps: &[Step]) -> String {
    let one = |step: &Step| match step.times {
        1 => format!("{} {}", step.name, ms(step.took)),
        times => format!("{} {} ({times} times)", step.name, ms(step.took)),
    };
    let list = steps.iter().map(one).collect::<Vec<_>>().join(", ");
    if list.is_empty() { list } else { format!(": {list}") }
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_told_in_their_order_and_once() {
        let mut steps = Vec::new();
        for (name, micros) in [("read", 1200), ("link", 400), ("read", 300)] {
            add(&mut steps, name, Duration::from_micros(micros));
        }
        assert_eq!(list(&steps), ": read 1.50 ms (2 times), link 0.40 ms");
        assert_eq!(list(&[]), "");
    }
}
