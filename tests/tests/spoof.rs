//! A container can't send from an address that isn't its own: `rp_filter` on the host's end is
//! strict. (IPv6 has no such setting in the kernel.)

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Network, Pod, addresses, on_each_store};

fn v4(network: &Network, pod: &Pod, id: &str) -> Result<IpAddr> {
    let result = network.add(pod, id)?;
    addresses(&result)?.into_iter().find(IpAddr::is_ipv4).context("no IPv4 address")
}

/// A socket that hears what reaches an address, inside the host or a container.
fn ear(
    within: impl FnOnce(Box<dyn FnOnce() -> std::io::Result<UdpSocket> + Send>) -> Result<UdpSocket>,
    address: IpAddr,
) -> Result<UdpSocket> {
    let socket = within(Box::new(move || UdpSocket::bind((address, 4789))))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(socket)
}

/// The text of the next datagram, and whom it claims to be from.
fn hear(ear: &UdpSocket) -> Result<(String, IpAddr)> {
    let mut buffer = [0; 64];
    let (length, from) = ear.recv_from(&mut buffer)?;
    Ok((String::from_utf8_lossy(&buffer[..length]).into_owned(), from.ip()))
}

fn say(pod: &Pod, from: IpAddr, to: IpAddr, text: &'static str) -> Result<()> {
    pod.within(move || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.send_to(text.as_bytes(), SocketAddr::new(to, 4789)).map(drop)
    })
}

#[test]
fn what_a_container_sends_from_an_address_not_its_own_reaches_nobody() {
    on_each_store("spoof", |network| {
        let (pod, other) = (network.host().pod("p1")?, network.host().pod("p2")?);
        let (mine, others) = (v4(network, &pod, "c1")?, v4(network, &other, "c2")?);
        let host = network.host().clone();
        let at_host = ear(|bind| host.within(bind), host.v4())?;
        let at_other = ear(|bind| other.within(bind), others)?;
        for forged in ["10.200.0.1", "192.0.2.1", &others.to_string(), "127.0.0.5"] {
            let forged: IpAddr = forged.parse()?;
            if !forged.is_loopback() {
                pod.run(["ip", "address", "add", &format!("{forged}/32"), "dev", "eth0"])?;
            }
            for to in [host.v4(), others] {
                // To an address that is its own too, a container sends nothing.
                if to == forged {
                    continue;
                }
                let _ = say(&pod, forged, to, "forged");
                // The path keeps the order: what is heard first was sent first.
                say(&pod, mine, to, "honest")?;
                let heard = hear(if to == others { &at_other } else { &at_host })?;
                ensure!(heard == ("honest".to_owned(), mine), "from {forged} to {to}: {heard:?}");
            }
            if !forged.is_loopback() {
                pod.run(["ip", "address", "del", &format!("{forged}/32"), "dev", "eth0"])?;
            }
        }
        // The proof that the filter does it: without it, the host hears the forged one.
        host.set_sysctl("ipv4/conf/calic1/rp_filter", "0")?;
        host.set_sysctl("ipv4/conf/all/rp_filter", "0")?;
        pod.run(["ip", "address", "add", "10.200.0.1/32", "dev", "eth0"])?;
        say(&pod, "10.200.0.1".parse()?, host.v4(), "forged")?;
        ensure!(hear(&at_host)?.0 == "forged", "the test can't tell");
        Ok(())
    });
}
