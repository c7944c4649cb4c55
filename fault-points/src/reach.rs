//! The macro, of which a release build has another one.

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
