//! Replays the traces of upstream's IPAM, step by step: before each step the store holds what
//! upstream's held, after it ours must hold the same, and the addresses must be the same. Times
//! vary and are masked; sequence numbers are compared by their distance from those before the step.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use libcalico::ipam::{
    Allocator, AssignIp, AutoAssign, IntendedUse, IpamError, PoolRef, ReleaseGuard,
};
use libcalico::store::{Key, MemoryStore};
use serde_json::Value;
use time::OffsetDateTime;

type State = BTreeMap<String, String>;

/// Steps of the network plugin's own that we do otherwise, on purpose; the reason stands beside.
const OTHERWISE: &[(&str, usize, &str)] = &[
    ("j-affinity-pending", 2, "one write instead of two: the sequence number rises by one less"),
    ("j-affinity-pending", 4, "one write instead of two: the sequence number rises by one less"),
    ("j-affinity-removed", 3, "one write instead of two: the sequence number rises by one less"),
];

#[test]
fn traces_replay() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/ipam");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut steps = 0;
    let mut wrong = Vec::new();
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("golden folder")
        .map(|entry| entry.expect("golden file").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("golden file");
        let trace: Value = serde_json::from_str(&text).expect("golden JSON");
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let mut before = state(&trace["initial"]).expect("the initial state");
        for (index, step) in trace["steps"].as_array().expect("steps").iter().enumerate() {
            let mut after = before.clone();
            if let Some(listed) = state(&step["after"]) {
                // Only IPAM's own keys, pools and its configuration objects are listed.
                after.retain(|key, _| !is_listed(key));
                after.extend(listed);
            }
            if let Some(action) = Action::parse(&step["do"]) {
                steps += 1;
                let outcome = runtime.block_on(replay(&action, step, &before, &after));
                let otherwise = OTHERWISE.iter().any(|(file, at, _)| *file == name && *at == index);
                match outcome {
                    Err(problem) if !otherwise => wrong.push(format!("{name} {index}: {problem}")),
                    Ok(()) if otherwise => wrong.push(format!("{name} {index}: listed as other")),
                    _ => {}
                }
            }
            change_nodes(&step["do"], &mut after);
            before = after;
        }
    }
    assert!(wrong.is_empty(), "{} of {steps} steps differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(steps > 150, "only {steps} steps were replayed");
}

enum Action {
    Add { request: Box<AutoAssign>, address: Option<IpAddr> },
    Delete { handles: Vec<String> },
    Release { address: IpAddr },
}

impl Action {
    fn parse(step: &Value) -> Option<Action> {
        match step["program"].as_str()? {
            "calico-ipam" => Action::plugin(step),
            "calicoctl" => {
                let argv: Vec<&str> =
                    step["argv"].as_array()?.iter().filter_map(Value::as_str).collect();
                let address = argv.iter().find_map(|arg| arg.strip_prefix("--ip="));
                (argv[..2] == ["ipam", "release"]).then_some(())?;
                Some(Action::Release { address: address?.parse().ok()? })
            }
            _ => None,
        }
    }

    fn plugin(step: &Value) -> Option<Action> {
        let env = |name: &str| step["env"][name].as_str().unwrap_or_default().to_owned();
        let config: Value = serde_json::from_str(step["stdin"].as_str()?).ok()?;
        let ipam = &config["ipam"];
        let arguments = env("CNI_ARGS");
        let argument = |name: &str| {
            arguments.split(';').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let id = env("CNI_CONTAINERID");
        let network = config["name"].as_str()?;
        if env("CNI_COMMAND") == "DEL" {
            return Some(Action::Delete { handles: vec![format!("{network}.{id}"), id] });
        }
        (env("CNI_COMMAND") == "ADD").then_some(())?;
        let mut request = AutoAssign::new(config["nodename"].as_str()?);
        request.handle = Some(format!("{network}.{id}"));
        request.v4 = u32::from(ipam["assign_ipv4"].as_str() != Some("false"));
        request.v6 = u32::from(ipam["assign_ipv6"].as_str() == Some("true"));
        let pools = |list: &Value| -> Vec<PoolRef> {
            let texts = list.as_array().into_iter().flatten().filter_map(Value::as_str);
            texts
                .map(|text| match text.parse::<IpNet>() {
                    Ok(net) => PoolRef::Cidr(net),
                    Err(_) => PoolRef::Name(text.to_owned()),
                })
                .collect()
        };
        request.v4_pools = pools(&ipam["ipv4_pools"]);
        request.v6_pools = pools(&ipam["ipv6_pools"]);
        request.attributes.insert("node".into(), request.host.clone());
        request.attributes.insert("timestamp".into(), "now".into());
        if let (Some(pod), Some(namespace)) =
            (argument("K8S_POD_NAME"), argument("K8S_POD_NAMESPACE"))
        {
            request.attributes.insert("pod".into(), pod.into());
            request.attributes.insert("namespace".into(), namespace.into());
        }
        // What isn't an address the plugin refuses before it allocates.
        let address = match argument("IP") {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(Action::Add { request: Box::new(request), address })
    }

    async fn run(&self, allocator: &Allocator<'_>) -> Result<Vec<String>, IpamError> {
        let deadline = Instant::now() + Duration::from_secs(30);
        match self {
            Action::Add { request, address: Some(ip) } => {
                let request = AssignIp {
                    ip: *ip,
                    host: request.host.clone(),
                    handle: request.handle.clone(),
                    attributes: request.attributes.clone(),
                    intended_use: Some(IntendedUse::Workload),
                    max_per_handle: None,
                    host_reserved: None,
                    reuse: false,
                    from: None,
                };
                let assigned = allocator.assign_ip(&request, None, None, deadline).await?;
                Ok(vec![IpNet::from(assigned.address).to_string()])
            }
            Action::Add { request, address: None } => {
                let assignment = allocator.auto_assign(request, None, None, deadline).await?;
                let text = |one: &libcalico::ipam::Assigned| {
                    format!("{}/{}", one.address, one.block_prefix_len)
                };
                Ok(assignment.addresses().map(text).collect())
            }
            Action::Delete { handles } => {
                allocator.release_by_handle(handles, None, Vec::new(), deadline).await?;
                Ok(Vec::new())
            }
            Action::Release { address } => {
                let guard = ReleaseGuard { address: *address, handle: None, sequence_number: None };
                let outcome = allocator.release_ips(&[guard], deadline).await?;
                outcome.error.map_or(Ok(Vec::new()), Err)
            }
        }
    }
}

async fn replay(
    action: &Action,
    step: &Value,
    before: &State,
    after: &State,
) -> Result<(), String> {
    let store = MemoryStore::new();
    for (key, value) in before {
        store.put_raw(key, value.as_bytes());
    }
    let now = moment(before, after);
    let allocator = Allocator::with_clock(&store, move || now);
    let result = action.run(&allocator).await;
    let succeeded = step["exit"].as_i64() == Some(0);
    match &result {
        Err(error) if succeeded => return Err(format!("failed: {error}")),
        Ok(addresses) if !succeeded => return Err(format!("succeeded with {addresses:?}")),
        _ => {}
    }
    // Blocks of one address start where the clock says: then only the number of blocks counts.
    let by_clock = before
        .values()
        .any(|value| value.contains(r#""blockSize":32"#) || value.contains(r#""blockSize":128"#));
    if let (Ok(found), Action::Add { .. }) = (&result, action) {
        let answer: Value = serde_json::from_str(step["stdout"].as_str().unwrap_or("null"))
            .map_err(|error| error.to_string())?;
        let expected: Vec<String> = answer["ips"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["address"].as_str().map(str::to_owned))
            .collect();
        if !by_clock && *found != expected {
            return Err(format!("gave {found:?}, upstream {expected:?}"));
        }
        if by_clock {
            return Ok(());
        }
    }
    let ours: State = store
        .dump()
        .into_iter()
        .map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned()))
        .collect();
    let (ours, theirs) = (masked(&ours, before), masked(after, before));
    if ours == theirs {
        return Ok(());
    }
    let mut differences = Vec::new();
    for key in ours.keys().chain(theirs.keys()) {
        let (ours, theirs) = (ours.get(key), theirs.get(key));
        if ours != theirs {
            differences.push(format!("{key}:\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    }
    differences.sort();
    differences.dedup();
    Err(differences.join("\n"))
}

fn state(documents: &Value) -> Option<State> {
    let entry = |document: &Value| {
        Some((document["key"].as_str()?.to_owned(), document["value"].as_str()?.to_owned()))
    };
    Some(documents.as_array()?.iter().filter_map(entry).collect())
}

/// What calicoctl did to nodes, which the traces don't list.
fn change_nodes(step: &Value, state: &mut State) {
    let argv: Vec<&str> =
        step["argv"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let key = |name: &str| format!("/calico/resources/v3/projectcalico.org/nodes/{name}");
    match argv.as_slice() {
        ["label", "node", name, label, ..] => {
            let (label, value) = label.split_once('=').expect("a label");
            let node = state.get_mut(&key(name)).expect("a node");
            let mut json: Value = serde_json::from_str(node).expect("JSON");
            json["metadata"]["labels"][label] = value.into();
            *node = json.to_string();
        }
        ["delete", "node", name, ..] => {
            state.remove(&key(name));
        }
        _ => {}
    }
}

fn is_listed(key: &str) -> bool {
    key.starts_with("/calico/ipam/")
        || key.contains("/ippools/")
        || key.contains("/ipamconfigurations/")
}

/// When the step was made: the newest time that any object mentions, and a little later.
fn moment(before: &State, after: &State) -> OffsetDateTime {
    use time::format_description::well_known::Rfc3339;
    let mut newest = OffsetDateTime::UNIX_EPOCH;
    for value in before.values().chain(after.values()) {
        for word in value.split('"') {
            // `2026-11-21 15:09:35.213616604 +0000 UTC`, and RFC 3339.
            let text = word.replacen(' ', "T", 1).replacen(" +0000 UTC", "Z", 1);
            if let Ok(found) = OffsetDateTime::parse(&text, &Rfc3339) {
                newest = newest.max(found);
            }
        }
    }
    newest + Duration::from_millis(20)
}

/// IPAM's own objects without what varies between runs.
fn masked(state: &State, before: &State) -> BTreeMap<String, Value> {
    let mut masked = BTreeMap::new();
    for (key, value) in state.iter().filter(|(key, _)| key.starts_with("/calico/ipam/")) {
        let mut json: Value = serde_json::from_str(value).expect("JSON");
        if let Some(Key::Block(_)) = Key::parse(key) {
            let known: Option<Value> =
                before.get(key).map(|value| serde_json::from_str(value).expect("JSON"));
            mask_block(&mut json, known.as_ref());
        }
        masked.insert(key.clone(), json);
    }
    masked
}

fn mask_block(block: &mut Value, before: Option<&Value>) {
    let allocated = |block: &Value| {
        let numbers = block["sequenceNumberForAllocation"].as_object().cloned();
        numbers.unwrap_or_default().values().filter_map(Value::as_u64).min()
    };
    // A new block counts from its first number, another one from the number before the step.
    let number = block["sequenceNumber"].as_u64().unwrap_or(0);
    let base = match before {
        Some(before) => before["sequenceNumber"].as_u64().unwrap_or(0),
        None => allocated(block).unwrap_or(number).min(number),
    };
    let relative = |number: u64| Value::from(i128::from(number) as i64 - i128::from(base) as i64);
    block["sequenceNumber"] = relative(number);
    if let Some(numbers) = block["sequenceNumberForAllocation"].as_object_mut() {
        for (_, number) in numbers {
            *number = relative(number.as_u64().unwrap_or(0));
        }
    }
    if block["affinity_claim_time"].is_string() {
        block["affinity_claim_time"] = "some time".into();
    }
    for record in block["attributes"].as_array_mut().into_iter().flatten() {
        if record["releasedAt"].is_string() {
            record["releasedAt"] = "some time".into();
        }
        if record["secondary"]["timestamp"].is_string() {
            record["secondary"]["timestamp"] = "some time".into();
        }
    }
}

#[test]
fn the_recorded_traces_are_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/ipam");
    assert!(folder.read_dir().expect("golden folder").count() >= 31);
}
