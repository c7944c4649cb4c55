//! The verbs: what they say on which stream, and what becomes of what belongs to a resource
//! (sections 3.5, 4, 5.7, 9 and 10).

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{Network, RESOURCES, addresses, on_both_stores};

use crate::answers;

on_both_stores! {
    statuses_and_streams
    counts_are_true_and_every_error_is_told
    namespaces
    labels_are_changed_all_or_none
    patches_of_both_kinds
    changes_at_once_are_all_made
    a_pool_is_replaced_by_another_one
    a_node_takes_along_what_is_its_own
    what_nobody_may_write
    formats
    a_resource_that_cannot_be_read_is_told
}

/// Resources in a line of YAML each.
fn yaml(resources: &[(&str, &str, &str)]) -> String {
    let line = |(kind, name, spec): &(&str, &str, &str)| {
        format!(
            "- {{apiVersion: projectcalico.org/v3, kind: {kind}, metadata: {{name: {name}}}, spec: {spec}}}\n"
        )
    };
    resources.iter().map(line).collect()
}

fn create(network: &Network, resources: &[(&str, &str, &str)]) -> Result<()> {
    network.ctl("create -f -").stdin(yaml(resources)).ok().map(drop)
}

fn keys(network: &Network, prefix: &str) -> Result<Vec<String>> {
    Ok(network.store().dump()?.under(prefix).map(|(key, _)| key.to_owned()).collect())
}

fn statuses_and_streams(network: &Network) -> Result<()> {
    create(network, &[("IPPool", "pool-a", "{cidr: 10.65.0.0/16}")])?;
    let same = yaml(&[("IPPool", "pool-a", "{cidr: 10.65.0.0/16}")]);
    network.ctl("get pool -o yaml").file("same.yaml", &same)?.file("empty.yaml", "")?.ok()?;
    answers(
        network,
        &[
            ("", 0, "Looks after Calico's resources, addresses and nodes…"),
            ("get --help", 0, "Shows resources…"),
            ("apply", 1, "no file: name one with -f FILE, or - for standard input\n"),
            ("apply -f none.yaml", 1, "failed to execute command: cannot read none.yaml: …"),
            ("apply -f empty.yaml", 1, "no resources specified in file empty.yaml\n"),
            ("apply -f empty.yaml --skip-empty", 0, "No resources specified\n"),
            ("get", 1, "nothing to get: name a KIND, or a file with -f FILE\n"),
            ("get ponds", 1, "resource type 'ponds' is not supported\n"),
            ("get poolz", 1, "resource type 'poolz' is not supported: did you mean \"pool\"?\n"),
            ("get all", 1, "resource type 'all' is not supported\n"),
            ("get pool nope", 1, "resource does not exist: IPPool(nope) with error: <nil>\n"),
            (
                "get np -n shop nope",
                1,
                "resource does not exist: NetworkPolicy(shop/nope) with error: <nil>\n",
            ),
            (
                "create -f same.yaml",
                1,
                "failed to create 'IPPool' resource: [resource already exists: IPPool(pool-a)…",
            ),
            (
                "create -f same.yaml --skip-exists",
                0,
                "Successfully created 1 'IPPool' resource(s)\n",
            ),
            ("delete", 1, "nothing to delete: …"),
            ("delete pool", 1, "no name: say which IPPool to delete\n"),
            (
                "delete pool nope",
                1,
                "Failed to delete 'IPPool' resource: resource does not exist: IPPool(nope)…",
            ),
            ("delete pool nope -s", 0, "Successfully deleted 1 'IPPool' resource(s)\n"),
            ("frob", 1, "unknown command \"frob\": see calicoctl --help\n"),
            ("crate", 1, "unknown command \"crate\": did you mean \"create\"?\n"),
            ("get --frob", 1, "unknown flag: --frob\n"),
            ("get pool -m", 1, "unknown shorthand flag: 'm' in -m\n"),
            (
                "-l loud get pool",
                1,
                "unknown log level: loud, expected one of: panic, fatal, error, warn, info, debug\n",
            ),
            (
                "get pool -l info --context x",
                0,
                "NAME     CIDR           SELECTOR   \npool-a   10.65.0.0/16   all()      \n\n",
            ),
            (
                "--context x get POOLS",
                0,
                "NAME     CIDR           SELECTOR   \npool-a   10.65.0.0/16   all()      \n\n",
            ),
        ],
    )?;
    let mut nameless = network.ctl("get pool");
    nameless = nameless.also("");
    ensure!(nameless.refused()? == "resource name may not be empty\n");
    Ok(())
}

fn counts_are_true_and_every_error_is_told(network: &Network) -> Result<()> {
    create(network, &[("GlobalNetworkSet", "b", "{}")])?;
    let sets = yaml(&[
        ("GlobalNetworkSet", "a", "{}"),
        ("GlobalNetworkSet", "b", "{}"),
        ("GlobalNetworkSet", "c", "{nets: [nonsense]}"),
        ("GlobalNetworkSet", "d", "{}"),
    ]);
    let answer = network.ctl("create -f -").stdin(sets).run()?;
    ensure!(answer.exit == Some(1) && answer.stdout.is_empty(), "{answer:#?}");
    let said = &answer.stderr;
    ensure!(said.starts_with("failed to create 'GlobalNetworkSet' resource: ["), "{said}");
    ensure!(said.contains("GlobalNetworkSet(b)") && said.contains("GlobalNetworkSet(c)"), "{said}");
    ensure!(said.ends_with("]; created 2 of 4 resources\n"), "{said}");
    let there = network.ctl("get globalnetworksets").ok()?;
    ensure!(there == "NAME   \na      \nb      \nd      \n\n", "{there}");

    let missing = yaml(&[("GlobalNetworkSet", "x", "{}"), ("Node", "z", "{}")]);
    let said = network.ctl("replace -f -").stdin(missing).refused()?;
    let expected = "failed to replace any resources: [resource does not exist: \
                    GlobalNetworkSet(x) with error: <nil> resource does not exist: Node(z) with \
                    error: <nil>]\n";
    ensure!(said == expected, "{said}");

    let answer = network.ctl("delete globalnetworksets a x d z").run()?;
    ensure!(answer.exit == Some(1), "{answer:#?}");
    ensure!(
        answer.stdout == "Successfully deleted 2 'GlobalNetworkSet' resource(s)\n",
        "{answer:#?}"
    );
    ensure!(answer.stderr.lines().count() == 2 && answer.stderr.contains("(z)"), "{answer:#?}");

    let bad = yaml(&[("IPPool", "a", "{cidr: 10.0.0.1/8, blockSize: 99}")]);
    let said = network.ctl("validate -f -").stdin(bad).refused()?;
    ensure!(said.starts_with("failed to validate 'IPPool' resource: ["), "{said}");
    ensure!(said.contains("10.0.0.1/8") && said.contains("99"), "{said}");
    Ok(())
}

fn namespaces(network: &Network) -> Result<()> {
    let set = |namespace: &str| {
        format!(
            "{{apiVersion: projectcalico.org/v3, kind: NetworkSet, metadata: {{name: s{namespace}}}, \
             spec: {{nets: [10.0.0.0/8]}}}}\n"
        )
    };
    network.ctl("create -f -").stdin(set("")).ok()?;
    network.ctl("create -n shop -f -").stdin(set(", namespace: shop")).ok()?;
    network.ctl("create -f -").stdin(set("-2, namespace: shop")).ok()?;
    let other = network.ctl("apply -n shop -f -").stdin(set(", namespace: yard")).refused()?;
    ensure!(
        other == "resource namespace does not match client namespace. yard != shop\n",
        "{other}"
    );
    answers(
        network,
        &[
            ("get networkset", 0, "NAME   \ns      \n\n"),
            (
                "get networkset -n shop",
                0,
                "NAMESPACE   NAME   \nshop        s      \nshop        s-2    \n\n",
            ),
            (
                "get netsets -a",
                0,
                "NAMESPACE   NAME   \ndefault     s      \nshop        s      \nshop        s-2    \n\n",
            ),
            (
                "get netset -A -o custom-columns=NETS",
                0,
                "NAMESPACE   NETS         \ndefault     10.0.0.0/8   \n…",
            ),
            (
                "get netset -o custom-columns=NAME,NAMESPACE",
                0,
                "NAME   NAMESPACE   \ns      default     \n\n",
            ),
            ("get ippool -A", 1, "IPPool is not namespaced\n"),
            ("get ippool -a", 1, "IPPool is not namespaced\n"),
            ("get ippool -n shop", 1, "IPPool is not namespaced\n"),
            (
                "get np -A -n shop",
                1,
                "cannot use both --namespace and --all-namespaces flags at the same time\n",
            ),
            ("get np x -A", 1, "cannot use --all-namespace flag for getting a single resource\n"),
            (
                "delete networkset s-2",
                1,
                "Failed to delete 'NetworkSet' resource: resource does not exist: NetworkSet(default/s-2)…",
            ),
            (
                "delete networkset s-2 -n shop",
                0,
                "Successfully deleted 1 'NetworkSet' resource(s)\n",
            ),
            (
                "get networkset s -n shop -o yaml --export",
                0,
                "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata:\n  name: s\nspec:\n…",
            ),
        ],
    )
}

fn labels_are_changed_all_or_none(network: &Network) -> Result<()> {
    create(network, &[("Node", "n1", "{}")])?;
    let labels = || -> Result<Value> {
        let node = network.ctl("get node n1 -o json").ok()?;
        Ok(serde_json::from_str::<Value>(&node)?["metadata"]["labels"].clone())
    };
    answers(
        network,
        &[
            (
                "label node n1 a=1 b=2",
                0,
                "Successfully set label a on node n1\nSuccessfully set label b on node n1\n",
            ),
            (
                "label NODE n1 c=3 a=9",
                1,
                "failed to update label of NODE n1, key a is already present. please use '--overwrite'…",
            ),
            ("label node n1 a=9 --overwrite", 0, "Successfully updated label a on node n1\n"),
            (
                "label node n1 --remove b nope",
                1,
                "cannot remove label of node n1, key nope does not exist\n",
            ),
            ("label node n1 x", 1, "invalid label x…"),
            ("label node n1 x=y=z", 1, "invalid label x=y=z…"),
            ("label node n1 --remove x=y", 1, "invalid label x=y…"),
            (
                "label node n1 !!=y",
                1,
                "failed to update node n1, label not changed: Node(n1): error with field…",
            ),
            ("label node nope x=y", 1, "node nope not found\n"),
            ("label pool n x=y -n shop", 1, "IPPool is not namespaced\n"),
        ],
    )?;
    ensure!(labels()? == serde_json::json!({"a": "9", "b": "2"}), "{}", labels()?);
    answers(
        network,
        &[(
            "label no n1 --remove a b",
            0,
            "Successfully removed label a from no n1\nSuccessfully removed label b from no n1\n",
        )],
    )?;
    ensure!(labels()?.is_null(), "{}", labels()?);
    Ok(())
}

fn patches_of_both_kinds(network: &Network) -> Result<()> {
    create(network, &[("IPPool", "a", "{cidr: 10.65.0.0/16}"), ("Node", "n1", "{}")])?;
    let patch = |words: &str, patch: &str| network.ctl(words).also(patch);
    let operations = r#"[{"op":"add","path":"/spec/natOutgoing","value":true},
                         {"op":"replace","path":"/spec/allowedUses","value":["Tunnel"]}]"#;
    let said = patch("patch ippool a -t json -p", operations).ok()?;
    ensure!(said == "Successfully patched 1 'IPPool' resource\n", "{said}");
    let pool = network.ctl(
        "get pool a -o go-template={{range.}}{{.Spec.NATOutgoing}},{{.Spec.AllowedUses}}{{end}}",
    );
    ensure!(pool.ok()? == "true,[Tunnel]", "{:?}", pool.run()?);
    for (words, text, expected) in [
        ("patch ippool a -p", operations, "an array is a JSON Patch: say so with --type json"),
        (
            "patch ippool a -t json -p",
            r#"[{"op":"test","path":"/spec/cidr","value":"x"}]"#,
            "failed to patch 'IPPool' resource: ",
        ),
        ("patch ippool a -t xyz -p", "{}", "invalid value 'xyz' for '--type <TYPE>'"),
        ("patch ippool a -p", "3", "the patch must be an object"),
        ("patch ippool a -p", "{", "the patch is no JSON"),
        ("patch ippool nope -p", "{}", "resource does not exist: IPPool(nope)"),
        (
            "patch ippool a -p",
            r#"{"metadata":{"name":"b"}}"#,
            "can't change kind, name or namespace",
        ),
        ("patch ippool a -p", r#"{"spec":{"colour":"red"}}"#, "wrong location: colour"),
        ("patch ippool a -p", r#"{"spec":{"cidr":"10.99.0.0/16"}}"#, "cidr"),
    ] {
        let said = patch(words, text).refused()?;
        ensure!(said.to_lowercase().contains(&expected.to_lowercase()), "{words} {text}: {said}");
        ensure!(said.lines().count() == 1, "{said}");
    }
    // What a newer release has stored stays, and is in nobody's way.
    network
        .store()
        .change(&format!("{RESOURCES}/nodes/n1"), |node| node["spec"]["new"] = 1.into())?;
    patch("patch node n1 -p", r#"{"spec":{"bgp":{"ipv4Address":"192.0.2.2/24"}}}"#).ok()?;
    let node = &network.store().dump()?.0[&format!("{RESOURCES}/nodes/n1")];
    ensure!(
        node["spec"]["new"] == 1 && node["spec"]["bgp"]["ipv4Address"] == "192.0.2.2/24",
        "{node}"
    );
    Ok(())
}

fn changes_at_once_are_all_made(network: &Network) -> Result<()> {
    create(network, &[("Node", "n1", "{}")])?;
    let calls: Vec<_> = (0..4).map(|i| network.ctl(&format!("label node n1 k{i}=v"))).collect();
    thread::scope(|scope| {
        let running: Vec<_> = calls.iter().map(|call| scope.spawn(|| call.ok())).collect();
        running.into_iter().try_for_each(|call| call.join().expect("no panic").map(drop))
    })?;
    let node = &network.store().dump()?.0[&format!("{RESOURCES}/nodes/n1")];
    ensure!(node["metadata"]["labels"].as_object().is_some_and(|all| all.len() == 4), "{node}");
    Ok(())
}

/// The walk of Calico's documents: a new pool, the old one disabled by a saved list, the workloads
/// made again, the old pool deleted.
fn a_pool_is_replaced_by_another_one(network: &Network) -> Result<()> {
    create(
        network,
        &[("IPPool", "default-ipv4-ippool", "{cidr: 192.168.0.0/16, natOutgoing: true}")],
    )?;
    let address = |id: &str| -> Result<String> {
        let result = network.ipam("ADD")?.container(id).result()?;
        Ok(addresses(&result)?.first().context("no address")?.to_string())
    };
    let first = address("c1")?;
    ensure!(first.starts_with("192.168."), "{first}");
    create(network, &[("IPPool", "new-pool", "{cidr: 10.0.0.0/16, natOutgoing: true}")])?;
    let saved = network.ctl("get ippool -o yaml").ok()?;
    let disabled = saved.replacen(
        "    cidr: 192.168.0.0/16\n",
        "    cidr: 192.168.0.0/16\n    disabled: true\n",
        1,
    );
    ensure!(saved != disabled, "{saved}");
    let said = network.ctl("apply -f pool.yaml").file("pool.yaml", &disabled)?.ok()?;
    ensure!(said == "Successfully applied 2 'IPPool' resource(s)\n", "{said}");
    answers(
        network,
        &[(
            "get ippool -o custom-columns=NAME,DISABLED",
            0,
            "NAME                  DISABLED   \n\
         default-ipv4-ippool   true       \n\
         new-pool              false      \n\n",
        )],
    )?;
    let second = address("c2")?;
    ensure!(second.starts_with("10.0."), "{second}");
    network.ipam("DEL")?.container("c1").done()?;
    answers(
        network,
        &[
            ("delete pool default-ipv4-ippool", 0, "Successfully deleted 1 'IPPool' resource(s)\n"),
            (
                "get pools",
                0,
                "NAME       CIDR          SELECTOR   \nnew-pool   10.0.0.0/16   all()      \n\n",
            ),
        ],
    )?;
    for folder in
        ["/calico/ipam/v2/assignment/ipv4/block/192", "/calico/ipam/v2/host/node-a/ipv4/block/192"]
    {
        let left = keys(network, folder)?;
        ensure!(left.is_empty(), "{left:?}");
    }
    // A pool goes although one of its addresses is in use, which stays whose it is.
    answers(
        network,
        &[("delete pool new-pool", 0, "Successfully deleted 1 'IPPool' resource(s)\n")],
    )?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().len() == 1, "{dump:#?}");
    network.ipam("DEL")?.container("c2").done()?;
    let dump = network.store().dump()?;
    ensure!(dump.allocations().is_empty() && dump.handles().is_empty(), "{dump:#?}");
    Ok(())
}

fn a_node_takes_along_what_is_its_own(network: &Network) -> Result<()> {
    create(
        network,
        &[
            ("Node", "n1", "{bgp: {ipv4Address: 192.0.2.2/24}}"),
            ("BGPPeer", "of-n1", "{node: n1, peerIP: 192.0.2.9, asNumber: 64512}"),
            ("BGPPeer", "of-all", "{peerIP: 192.0.2.8, asNumber: 64512}"),
            ("FelixConfiguration", "node.n1", "{}"),
            ("HostEndpoint", "h1", "{node: n1, interfaceName: eth0}"),
        ],
    )?;
    answers(
        network,
        &[
            (
                "delete node n1 n2",
                1,
                "Failed to delete 'Node' resource: resource does not exist: Node(n2)…",
            ),
            ("get bgppeer -o custom-columns=NAME", 0, "NAME     \nof-all   \n\n"),
            ("get felixconfig,hep", 1, "resource type 'felixconfig,hep' is not supported…"),
            ("get felixconfig", 0, "NAME   \n\n"),
            ("get hep", 0, "NAME   NODE   \n\n"),
        ],
    )
}

fn what_nobody_may_write(network: &Network) -> Result<()> {
    let cluster = network.ctl("get clusterinfo default -o yaml").ok()?;
    for (verb, operation) in
        [("create", "Create"), ("apply", "Apply"), ("replace", "Update"), ("delete", "Delete")]
    {
        let said = network.ctl(&format!("{verb} -f -")).stdin(cluster.clone()).refused()?;
        let expected =
            format!("operation {operation} is not supported on ClusterInformation(default): ");
        ensure!(said.contains(&expected), "{verb}: {said}");
    }
    ensure!(network.ctl("get clusterinfo default -o yaml").ok()? == cluster, "it was changed");
    // What mirrors an object of Kubernetes: nothing of ours makes or removes it.
    let policy = yaml(&[("NetworkPolicy", "knp.default.x", "{}")]);
    for (verb, expected) in [
        ("create", "operation Create is not supported on NetworkPolicy(default/knp.default.x): "),
        ("delete", "operation Delete is not supported on NetworkPolicy(default/knp.default.x): "),
        ("apply", "resource does not exist: NetworkPolicy(default/knp.default.x)"),
        ("replace", "resource does not exist: NetworkPolicy(default/knp.default.x)"),
    ] {
        let said = network.ctl(&format!("{verb} -f -")).stdin(policy.clone()).refused()?;
        ensure!(said.contains(expected), "{verb}: {said}");
    }
    answers(
        network,
        &[
            (
                "label clusterinfo default a=b",
                1,
                "failed to update clusterinfo default, label not changed: operation Update is not supported on…",
            ),
            (
                "delete profile projectcalico-default-allow",
                1,
                "Failed to delete 'Profile' resource: …",
            ),
            ("delete tier default", 1, "Failed to delete 'Tier' resource: …"),
        ],
    )
}

fn formats(network: &Network) -> Result<()> {
    create(
        network,
        &[
            ("Node", "n1", "{bgp: {ipv4Address: 192.0.2.2/24}}"),
            ("BGPConfiguration", "default", "{asNumber: 65000}"),
        ],
    )?;
    answers(
        network,
        &[
            (
                "get node -o wide",
                0,
                "NAME     ASN       IPV4           IPV6   \nn1       (65000)   192.0.2.2/24          \nnode-a…",
            ),
            ("get node n1 -o custom-columns=ASN", 0, "ASN       \n(65000)   \n\n"),
            ("get node n1 -o go-template={{config\"asNumber\"}}", 0, "65000"),
            (
                "get node n1 -o custom-columns=COLOUR",
                1,
                "unknown heading COLOUR, valid values are: NAME, ASN, IPV4, IPV6\n",
            ),
            ("get node n1 -o custom-columns=", 1, "need to specify at least one column\n"),
            ("get node n1 -o go-template=", 1, "need to specify a template\n"),
            ("get node n1 -o go-template-file=", 1, "need to specify a template file\n"),
            ("get node n1 -o go-template-file=none", 1, "cannot read the template file none…"),
            (
                "get node n1 -o go-template={{template}}",
                1,
                "template: line 1: template is not supported: use -o custom-columns…",
            ),
            (
                "get node n1 -o xml",
                1,
                "unrecognized output format 'xml': it is one of ps, wide, yaml, …",
            ),
            ("get node n1 -o yml", 0, "apiVersion: projectcalico.org/v3\nkind: Node\n…"),
            (
                "get tiers",
                0,
                "NAME            ORDER   \nkube-admin      1000    \ndefault         1e+06   \n…",
            ),
        ],
    )?;
    let template = network.ctl("get nodes -o go-template-file=t").file(
        "t",
        "{{- range . }}{{ range .Items }}{{ .Name }}: {{ .ObjectMeta.Name | printf \"%q\" }}\n{{ end }}{{ end -}}\n",
    )?;
    ensure!(template.ok()? == "n1: \"n1\"\nnode-a: \"node-a\"\n", "{:?}", template.run()?);
    Ok(())
}

fn a_resource_that_cannot_be_read_is_told(network: &Network) -> Result<()> {
    create(network, &[("GlobalNetworkSet", "good", "{}")])?;
    let key = format!("{RESOURCES}/globalnetworksets/bad");
    network.store().put(&key, "{")?;
    let answer = network.ctl("get globalnetworkset").run()?;
    ensure!(answer.exit == Some(0) && answer.stdout == "NAME   \ngood   \n\n", "{answer:#?}");
    ensure!(answer.stderr.contains("GlobalNetworkSet(bad)"), "{answer:#?}");
    let quiet = network.ctl("get globalnetworkset -l panic").run()?;
    ensure!(quiet.stderr.is_empty(), "{quiet:#?}");
    let said = network.ctl("get globalnetworkset bad").refused()?;
    ensure!(said.contains("cannot read the stored GlobalNetworkSet(bad)"), "{said}");
    network.store().delete(&key)
}
