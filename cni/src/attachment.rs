//! Attachments: what GC gets as the list of those that are still valid.

use serde::Deserialize;

/// One interface of one container in the network.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub struct Attachment {
    /// The container, as `CNI_CONTAINERID` named it.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface, as `CNI_IFNAME` named it.
    #[serde(rename = "ifname")]
    pub ifname: String,
}
