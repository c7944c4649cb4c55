//! A plugin as a process: from the environment and standard input to one answer (`cni-plugin.md`
//! section 0).

use std::{
    io::{IsTerminal, Read, Write},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::Serialize;
use serde_json::Value;

use crate::{
    AddResult, Args, Command, Error, NetworkConfig, Version, code,
    config::Document,
    environment::{self, Environment, Lookup},
    json, output,
};

/// The largest network configuration that is read. Real ones have some kilobytes.
const STDIN_MAX: u64 = 16 << 20;

/// How long VERSION waits for the end of its standard input, which it doesn't need.
const VERSION_PATIENCE: Duration = Duration::from_secs(1);

/// A plugin: a function for each verb. Configuration and environment are valid, as far as the
/// protocol goes, when they are called; an error is printed as the answer.
pub trait Plugin {
    /// One line about the plugin and its version, for somebody who starts it by hand.
    fn about(&self) -> String;

    /// ADD: attaches the container. The result is printed in the configuration's version.
    fn add(&self, request: &Request) -> Result<AddResult, Error>;

    /// DEL: takes the attachment back. What is gone already is no error; the namespace may be
    /// absent.
    fn del(&self, request: &Request) -> Result<(), Error>;

    /// CHECK: compares the attachment with the configuration's `prevResult`.
    fn check(&self, request: &Request) -> Result<(), Error>;

    /// GC: removes all but [`NetworkConfig::valid_attachments`].
    fn gc(&self, request: &Request) -> Result<(), Error>;

    /// STATUS: succeeds if an ADD could be served now.
    fn status(&self, request: &Request) -> Result<(), Error>;
}

/// A call of a plugin. What the verb has no use for is empty: see the table in `cni-plugin.md`
/// section 0.1.
#[derive(Clone, Debug)]
pub struct Request {
    /// The verb; never VERSION.
    pub command: Command,
    /// `CNI_CONTAINERID`.
    pub container_id: String,
    /// `CNI_NETNS`, a path that nobody has looked at yet; DEL may come without it.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`: the interface in the container.
    pub ifname: String,
    /// `CNI_ARGS`.
    pub args: Args,
    /// `CNI_PATH`: the folders where plugins are.
    pub path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: whether `netns` may be the plugin's own namespace.
    pub netns_override: bool,
    /// The network configuration.
    pub config: NetworkConfig,
}

/// Runs a plugin as the process that we are: reads the environment and standard input, calls the
/// verb, prints the answer. The program does nothing with the returned code but to end with it.
///
/// Afterwards, and within, a panic still gives an answer: code 999, exit status 1. It ends the
/// process on the spot, so guards that undo something on drop don't run: the runtime's DEL has to
/// find what an ADD left.
pub fn run(plugin: &dyn Plugin) -> ExitCode {
    output::answer_panics();
    let input = Input {
        lookup: &|name| std::env::var_os(name),
        stdin: Box::new(std::io::stdin()),
        stdin_is_terminal: std::io::stdin().is_terminal(),
    };
    let (answer, version) = match prepare(input) {
        Ok(Call::About) => {
            let mut stderr = std::io::stderr();
            let _ = writeln!(stderr, "{}", plugin.about());
            let _ = writeln!(stderr, "CNI protocol versions supported: {}", Version::list());
            return ExitCode::SUCCESS;
        }
        Ok(Call::Version(answer)) => (Ok(answer), Version::LATEST),
        Ok(Call::Verb(request)) => {
            let version = request.config.result_version();
            output::speak(version);
            (perform(plugin, &request), version)
        }
        Err(Refusal { error, version }) => (Err(error), version),
    };
    let status = match answer {
        Ok(text) => output::answer(&text, 0),
        Err(error) => output::answer(&error.to_json(version), 1),
    };
    ExitCode::from(status)
}

/// Runs a plugin's self-test (its flag `-t`) as the process that we are: hands the network
/// configuration from standard input to the test and ignores the environment. A success prints
/// nothing; a failure prints an error object, whose code is 100 if the configuration can't be read.
pub fn run_self_test(test: &dyn Fn(&NetworkConfig) -> Result<(), Error>) -> ExitCode {
    output::answer_panics();
    let config = read(Box::new(std::io::stdin()))
        .and_then(NetworkConfig::decode)
        .map_err(|error| Error { code: code::START_UP, ..error });
    let version = config.as_ref().map_or(Version::LATEST, NetworkConfig::result_version);
    let status = match config.and_then(|config| test(&config)) {
        Ok(()) => output::answer("", 0),
        Err(error) => output::answer(&error.to_json(version), 1),
    };
    ExitCode::from(status)
}

/// Where a process gets its orders from.
struct Input<'a> {
    lookup: Lookup<'a>,
    stdin: Box<dyn Read + Send>,
    stdin_is_terminal: bool,
}

/// What a process is asked to do.
#[derive(Debug)]
enum Call {
    /// Say who it is.
    About,
    /// Print this answer to VERSION.
    Version(String),
    /// Carry out a verb.
    Verb(Box<Request>),
}

/// An error, and the version to answer it in.
#[derive(Debug)]
struct Refusal {
    error: Error,
    version: Version,
}

impl From<Error> for Refusal {
    /// An error before the configuration's version is known.
    fn from(error: Error) -> Self {
        Refusal { error, version: Version::LATEST }
    }
}

/// Reads and validates. The order of the checks is upstream's, as it decides which code two faults
/// give.
fn prepare(input: Input) -> Result<Call, Refusal> {
    let Some(command) = environment::command(input.lookup)? else {
        return Ok(Call::About);
    };
    let environment = Environment::read(command, input.lookup)?;
    if command == Command::Version {
        return Ok(Call::Version(versions(input)));
    }
    let document = Document::decode(read(input.stdin)?)?;
    let version = document.answer_version();
    request(command, &environment, document)
        .map(|request| Call::Verb(Box::new(request)))
        .map_err(|error| Refusal { error, version })
}

fn request(
    command: Command,
    environment: &Environment,
    document: Document,
) -> Result<Request, Error> {
    document.name()?;
    environment.check()?;
    let config = document.validate()?;
    if config.version < command.since() {
        let (version, since) = (config.version, command.since());
        return Err(Error::new(
            code::INCOMPATIBLE_VERSION,
            format!(
                "cniVersion {version} of network {} has no {command}; use {since} or later",
                config.name
            ),
        )
        .details(format!(
            "config is {:?}, plugin supports [{}]",
            version.as_str(),
            Version::list()
        )));
    }
    Ok(Request {
        command,
        container_id: environment.container_id.clone(),
        netns: Some(&environment.netns).filter(|path| !path.is_empty()).map(PathBuf::from),
        ifname: environment.ifname.clone(),
        args: environment.args()?,
        path: environment.path(),
        netns_override: environment.netns_override(),
        config,
    })
}

/// Calls the verb; the answer of all but ADD is empty.
fn perform(plugin: &dyn Plugin, request: &Request) -> Result<String, Error> {
    match request.command {
        Command::Add => {
            return plugin.add(request)?.to_json(request.config.result_version());
        }
        Command::Del => plugin.del(request)?,
        Command::Check => plugin.check(request)?,
        Command::Gc => plugin.gc(request)?,
        Command::Status => plugin.status(request)?,
        Command::Version => {}
    }
    Ok(String::new())
}

fn read(stdin: Box<dyn Read + Send>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    stdin.take(STDIN_MAX + 1).read_to_end(&mut bytes).map_err(|cause| {
        Error::new(
            code::IO_FAILURE,
            format!("can't read the network configuration from standard input: {cause}"),
        )
    })?;
    if bytes.len() as u64 > STDIN_MAX {
        return Err(Error::new(
            code::DECODING_FAILURE,
            format!("network configuration on standard input is larger than {STDIN_MAX} bytes"),
        ));
    }
    Ok(bytes)
}

/// The answer to VERSION, which repeats the caller's `cniVersion`.
#[derive(Serialize)]
struct Versions {
    #[serde(rename = "cniVersion")]
    cni_version: String,
    #[serde(rename = "supportedVersions")]
    supported_versions: [&'static str; Version::ALL.len()],
}

fn versions(input: Input) -> String {
    let answer = Versions {
        cni_version: caller_version(input).unwrap_or_else(|| Version::LATEST.to_string()),
        supported_versions: Version::ALL.map(Version::as_str),
    };
    json::line(&answer)
}

/// The caller's `cniVersion`. Upstream reads no input here, so callers may give none, or garbage,
/// or a pipe that stays open: all that counts as no version.
fn caller_version(input: Input) -> Option<String> {
    if input.stdin_is_terminal {
        return None;
    }
    let (sender, receiver) = mpsc::channel();
    let stdin = input.stdin;
    thread::spawn(move || sender.send(read(stdin)));
    let bytes = receiver.recv_timeout(VERSION_PATIENCE).ok()?.ok()?;
    match json::member(&json::decode(&bytes).ok()?, "cniVersion")? {
        Value::String(version) if is_version_like(version) => Some(version.clone()),
        _ => None,
    }
}

/// Whether a text may be a version of the future.
fn is_version_like(text: &str) -> bool {
    (1..=32).contains(&text.len()) && text.chars().all(|c| c.is_ascii_digit() || c == '.')
}

#[cfg(test)]
mod tests;
