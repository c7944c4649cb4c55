//! The one document on standard output, also when the plugin panics.
//!
//! The first answer counts. A panic, on whatever thread, is answered from the panic hook and ends
//! the process there, so that it also works in programs that are built with `panic = "abort"`.

use std::{
    io::Write,
    panic::PanicHookInfo,
    process,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{Error, Version, code};

static ANSWER: Mutex<Answer> = Mutex::new(Answer { version: Version::LATEST, status: None });

struct Answer {
    /// In which version a panic is answered.
    version: Version,
    /// The exit status, once the answer is given.
    status: Option<u8>,
}

/// Sets the version for the answer to a panic.
pub(crate) fn speak(version: Version) {
    lock().version = version;
}

/// Gives the answer (nothing is written if it is empty) and returns the exit status, which is 1 if
/// the answer could not be delivered.
pub(crate) fn answer(text: &str, status: u8) -> u8 {
    give(&mut lock(), text, status)
}

/// Answers panics with an error object from now on.
pub(crate) fn answer_panics() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        // To standard error, with a backtrace if the environment asks for one.
        report(panic);
        let mut answer = lock();
        let text = describe(panic).to_json(answer.version);
        let status = give(&mut answer, &text, 1);
        process::exit(status.into());
    }));
}

fn give(answer: &mut Answer, text: &str, status: u8) -> u8 {
    if let Some(status) = answer.status {
        return status;
    }
    fault_points::reach!("answer.print");
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    fault_points::reach!("answer.printed");
    let status = match written {
        Ok(()) => status,
        Err(cause) => {
            // Nobody reads us. Standard error may be closed as well.
            let _ =
                writeln!(std::io::stderr(), "can't write the answer to standard output: {cause}");
            1
        }
    };
    answer.status = Some(status);
    status
}

fn describe(panic: &PanicHookInfo) -> Error {
    let text = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    Error::new(code::INTERNAL, format!("internal error: panic{place}: {text}; please report it"))
}

fn lock() -> MutexGuard<'static, Answer> {
    ANSWER.lock().unwrap_or_else(PoisonError::into_inner)
}
