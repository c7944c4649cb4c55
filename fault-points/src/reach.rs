//! The macros, of which a release build has other ones.

/// A fault point: its name, just before or just after an effect.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {
        $crate::reached($name)
    };
}

/// A fault point: nothing, in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! reach {
    ($name:literal) => {};
}

/// By how many seconds this process' clock is wrong on purpose.
#[cfg(debug_assertions)]
#[macro_export]
macro_rules! clock_error {
    () => {
        $crate::clock_error()
    };
}

/// By how many seconds this process' clock is wrong on purpose: none, in this build.
#[cfg(not(debug_assertions))]
#[macro_export]
macro_rules! clock_error {
    () => {
        0
    };
}
