//! Counting in handles (8.5).

use ipnet::IpNet;
use libcalico::ipam::handle::Handle;
use libcalico::store::{Change, Key};

use super::{Fail, Stored, TRIES, Upstream};

impl Upstream {
    pub(super) async fn handle(&self, id: &str) -> Result<Stored<Handle>, Fail> {
        let document = self.get(Key::Handle(id.to_owned())).await?;
        let value = Handle::decode(&document.value).expect("a handle");
        Ok(Stored { revision: document.revision, value })
    }

    /// Any failed write is tried again.
    pub(super) async fn increment(&self, id: &str, cidr: IpNet, count: usize) -> Result<(), Fail> {
        let key = Key::Handle(id.to_owned());
        for _ in 0..TRIES {
            let found = self.handle(id).await.ok();
            let mut value = found.as_ref().map(|found| found.value.clone()).unwrap_or_default();
            *value.block.entry(cidr.to_string()).or_default() += count as i64;
            let change = match found {
                Some(found) => Change::update(key.clone(), found.revision, value.encode()),
                None => Change::create(key.clone(), value.encode()),
            };
            if self.write(change).await.is_ok() {
                return Ok(());
            }
        }
        Err(Fail::Other("max retries hit"))
    }

    /// Only a lost race is tried again.
    pub(super) async fn decrement(&self, id: &str, cidr: IpNet, count: usize) -> Result<(), Fail> {
        let key = Key::Handle(id.to_owned());
        for _ in 0..TRIES {
            let mut found = self.handle(id).await?;
            let count = count as i64;
            let text = cidr.to_string();
            match found.value.block.get_mut(&text) {
                None => return Err(Fail::Other("it isn't linked to the handle")),
                Some(counted) if *counted < count => {
                    return Err(Fail::Other("it has fewer addresses on the handle"));
                }
                Some(counted) if *counted == count => drop(found.value.block.remove(&text)),
                Some(counted) => *counted -= count,
            }
            let change = if found.value.is_empty() {
                Change::delete(key.clone(), found.revision)
            } else {
                Change::update(key.clone(), found.revision, found.value.encode())
            };
            match self.write(change).await {
                Err(Fail::Conflict) => {}
                result => return result.map(|_| ()),
            }
        }
        Err(Fail::Other("max retries hit"))
    }
}
