//! Kinds with and without namespaces.

use anyhow::Result;
use serde_json::{Value, json};
use tests::{Network, on_both_stores};

use crate::objects::{self, kind, name};
use crate::{Case, call, is_list, is_stored, play, with};

on_both_stores! {
    namespaces
}

const CASES: &[Case] = &[
    ("test_non_namespaced", non_namespaced),
    ("test_namespaced (NetworkPolicy)", |network| {
        let [policy, _] = objects::policies();
        namespaced(network, policy.clone(), policy)
    }),
    ("test_namespaced (NetworkSet)", |network| {
        let set = objects::set(objects::few_nets());
        namespaced(network, set.clone(), set)
    }),
    ("test_namespaced (WorkloadEndpoint)", |network| {
        // The name of an endpoint says what it is of: the second is of another interface.
        let [first, _] = objects::endpoints();
        let mut second = first.clone();
        second["metadata"]["name"] = name(&first).replace("eth0", "eth1").into();
        second["spec"]["endpoint"] = json!("eth1");
        namespaced(network, first, second)
    }),
    ("TestMultiOption", all_namespaces_in_both_cases),
];

fn namespaces(network: &Network) -> Result<()> {
    play(network, CASES)
}

fn non_namespaced(network: &Network) -> Result<()> {
    let [profile, _] = objects::profiles();
    let [policy, _] = objects::global_policies();
    let [endpoint, _] = objects::host_endpoints();
    let [peer, _] = objects::peers();
    for data in [
        objects::pool_v4(),
        objects::reservation(),
        profile,
        policy,
        objects::global_set(objects::few_nets()),
        objects::global_set(objects::many_nets()),
        endpoint,
        peer,
        objects::node(1),
    ] {
        let (kind, name) = (kind(&data), name(&data));
        with(network, "create", &data)?.fine()?;
        call(network, &format!("get {kind}"))?.fine()?;
        call(network, &format!("get {kind} -o wide"))?.fine()?;
        let refusal = format!("{kind} is not namespaced\n");
        call(network, &format!("get {kind} {name} --namespace default -o yaml"))?
            .error("")?
            .is(&refusal)?;
        call(network, &format!("get {kind} --all-namespaces -o yaml"))?.error("")?.is(&refusal)?;
        with(network, "delete", &data)?.fine()?;
    }
    Ok(())
}

/// Two objects of a kind: the first is handed in without a namespace.
fn namespaced(network: &Network, mut first: Value, mut second: Value) -> Result<()> {
    let kind = kind(&first).to_owned();
    if kind != "WorkloadEndpoint" {
        first["metadata"]["name"] = json!("name1");
        second["metadata"]["name"] = json!("name2");
    }
    first["metadata"]["namespace"] = json!("");
    second["metadata"]["namespace"] = json!("other");
    with(network, "create", &first)?.fine()?;
    with(network, "create", &second)?.fine()?;
    first["metadata"]["namespace"] = json!("default");
    if kind == "WorkloadEndpoint" {
        for (data, namespace) in [(&mut first, "default"), (&mut second, "other")] {
            data["metadata"]["labels"]["projectcalico.org/namespace"] = json!(namespace);
        }
    }
    let (name1, name2) = (name(&first), name(&second));
    is_stored(network, &format!("{kind} {name1} --namespace default"), &first)?;
    is_list(network, &format!("{kind} --all-namespaces"), &kind, &[&first, &second])?;
    is_list(network, &kind, &kind, &[&first])?;
    is_list(network, &format!("{kind} -n other"), &kind, &[&second])?;
    // By file: the file's namespace, else that of the command line, else the default.
    let without = |data: &Value| {
        let mut data = data.clone();
        if let Some(metadata) = data["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
        data
    };
    let missing = "resource does not exist";
    for (words, data, expected) in [
        ("", &first, Some(name1)),
        ("", &second, Some(name2)),
        ("", &without(&first), Some(name1)),
        (" -n other", &without(&first), None),
        (" -n other", &without(&second), Some(name2)),
        ("", &without(&second), None),
    ] {
        let said = with(network, &format!("get -o yaml{words}"), data)?;
        match expected {
            Some(name) => said.fine()?.contains(&format!("name: {name}\n"))?,
            None => said.error(missing)?,
        };
    }
    call(network, &format!("delete {kind} {name1}"))?.fine()?;
    call(network, &format!("delete {kind} {name2}"))?.error(missing)?;
    with(network, "delete", &second)?.fine()?;
    Ok(())
}

fn all_namespaces_in_both_cases(network: &Network) -> Result<()> {
    with(network, "create", &objects::pool_v4())?.fine()?;
    let [mut policy, _] = objects::policies();
    for (namespace, name) in [("firstns", "policy1"), ("secondns", "policy2")] {
        policy["metadata"]["namespace"] = json!(namespace);
        policy["metadata"]["name"] = json!(name);
        with(network, "create", &policy)?.fine()?;
    }
    for flag in ["-A", "-a"] {
        let refused = call(network, &format!("get ippool {flag}"))?.error("")?;
        refused.is("IPPool is not namespaced\n")?;
        call(network, &format!("get networkPolicy {flag}"))?.fine()?.is(
            "NAMESPACE   NAME      TIER      \n\
             firstns     policy1   default   \n\
             secondns    policy2   default   \n\n",
        )?;
    }
    Ok(())
}
