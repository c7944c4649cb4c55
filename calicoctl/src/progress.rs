//! What we are doing, for the person at the terminal, once it takes more than a second.

use std::cell::RefCell;
use std::future::Future;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// After this time a person wants to know what we are doing; and again after twice that time, and
/// so on.
const PATIENCE: Duration = Duration::from_secs(1);

/// The longest time without a word.
const SILENCE: Duration = Duration::from_secs(10);

thread_local! {
    /// All work of a command is done on one thread.
    static DOING: RefCell<String> = RefCell::new("working".to_owned());
}

/// Does a part of a command's work, which is called `what` as long as it lasts.
pub async fn doing<T>(what: impl Into<String>, work: impl Future<Output = T>) -> T {
    let before = DOING.replace(what.into());
    let done = work.await;
    DOING.set(before);
    done
}

/// Does a command's work, and tells what it is about when it takes long.
pub async fn told<T>(work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    let (begun, mut pause) = (Instant::now(), PATIENCE);
    loop {
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(pause) => {}
        }
        if std::io::stderr().is_terminal() {
            let seconds = begun.elapsed().as_secs();
            eprintln!("{} ... {seconds} s", DOING.with_borrow(String::clone));
        }
        pause = SILENCE.min(pause * 2);
    }
}
