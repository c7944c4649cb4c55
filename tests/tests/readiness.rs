//! Readiness gates hold an ADD back until they open (`reference/cni-plugin.md` section 3.1, step 9).

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tests::{Host, Network, scene};

/// A server on the host's loopback that answers each connection with the next of these texts, and
/// the last one from then on. Its port.
fn server(host: &Arc<Host>, answers: &'static [&'static str]) -> Result<u16> {
    let listener = host.within(|| TcpListener::bind(("127.0.0.1", 0)))?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        let last = answers.last().copied();
        let answers = answers.iter().copied().chain(std::iter::repeat_with(|| last.unwrap_or("")));
        for (stream, answer) in listener.incoming().zip(answers) {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Ok(port)
}

const OK: &str = "HTTP/1.1 204 No Content\r\n\r\n";
const MOVED: &str = "HTTP/1.0 302 Found\r\nLocation: http://nowhere/\r\n\r\n";
const NOT_YET: &str = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

fn gates(network: &mut Network, ports: &[u16]) {
    let urls = ports.iter().map(|port| json!(format!("http://127.0.0.1:{port}/readiness")));
    network.conflist_mut()["plugins"][0]["readiness_gates"] = urls.collect();
}

#[test]
fn open_gates_cost_no_time_and_late_ones_are_waited_for() {
    scene("gates", |scene| {
        let mut network = Network::standalone(scene)?;
        let host = network.host().clone();
        let before = network.before()?;
        let pod = host.pod("p1")?;
        let open = [server(&host, &[OK])?, server(&host, &[MOVED])?];
        gates(&mut network, &open);
        let add = network.call("ADD")?.container("c1").pod(&pod);
        ensure!(add.run()?.elapsed < Duration::from_secs(2));
        network.del(&pod, "c1")?;
        let late = [server(&host, &[NOT_YET, "", "gibberish\n", OK])?, open[0]];
        gates(&mut network, &late);
        network.add(&pod, "c1")?;
        network.del(&pod, "c1")?;
        before.nothing_left()
    });
}

#[test]
fn a_gate_that_stays_shut_fails_add_in_bounded_time_and_status_at_once() {
    scene("gate-shut", |scene| {
        let mut network = Network::standalone(scene)?;
        let host = network.host().clone();
        let shut = server(&host, &[NOT_YET])?;
        gates(&mut network, &[server(&host, &[OK])?, shut]);
        let before = network.before()?;
        let pod = host.pod("p1")?;
        let answer =
            network.call("ADD")?.container("c1").pod(&pod).limit(Duration::from_secs(45)).run()?;
        let (code, message) = answer.error()?;
        ensure!(code == 11 && message.contains(&shut.to_string()), "{code} {message}");
        ensure!(message.contains("503"), "{message}");
        ensure!(answer.elapsed < Duration::from_secs(35), "it took {:?}", answer.elapsed);
        before.nothing_left()?;
        let mut config = network.config()?;
        config["cniVersion"] = json!("1.1.0");
        let answer = network.call("STATUS")?.config(&config).run()?;
        let (code, message) = answer.error()?;
        ensure!(code == 50 && message.contains("503"), "{code} {message}");
        ensure!(answer.elapsed < Duration::from_secs(3), "it took {:?}", answer.elapsed);
        // DEL asks no gate.
        network.del(&pod, "c1")
    });
}

#[test]
fn gates_that_cannot_be_asked_are_refused_before_anything_is_done() {
    scene("gate-bad", |scene| {
        let network = Network::standalone(scene)?;
        let pod = network.host().pod("p1")?;
        for (gates, code) in [
            (json!("http://127.0.0.1/"), 6),
            (json!(["https://127.0.0.1/"]), 2),
            (json!(["/run/ready"]), 7),
            (json!([7]), 6),
        ] {
            let add = network.call_with("ADD", "readiness_gates", &gates)?;
            let (found, message) = add.container("c1").pod(&pod).error()?;
            ensure!(found == code && message.contains("readiness_gates"), "{found} {message}");
            let del = network.call_with("DEL", "readiness_gates", &gates)?;
            del.container("c1").pod(&pod).done()?;
        }
        Ok(())
    });
}
