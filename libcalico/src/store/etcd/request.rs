//! Queries and changes as etcd's transactions, and their answers.

use etcd_client::{
    Compare, CompareOp, GetOptions, GetResponse, KeyValue, Txn, TxnOp, TxnOpResponse, TxnResponse,
};

use super::failure::Failure;
use super::fate::{Present, State};
use super::server::Connection;
use crate::store::path::successor;
use crate::store::{
    Action, Change, Committed, Document, Guard, Key, MAX_CHANGES, PathError, Prefix, Query,
    Revision, Snapshot,
};

/// A read: its ranges, in parts that a transaction can hold.
pub(super) struct Reading<'a> {
    parts: Vec<&'a [Query]>,
}

impl<'a> Reading<'a> {
    /// Checks that every key can be spelled.
    pub(super) fn new(queries: &'a [Query]) -> Result<Reading<'a>, PathError> {
        for query in queries {
            if let Query::Key(key) = query {
                key.path()?;
            }
        }
        Ok(Reading { parts: queries.chunks(MAX_CHANGES).collect() })
    }

    /// In how many transactions it is read.
    pub(super) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Reads all parts at the revision of the first one.
    pub(super) async fn run(&self, connection: &Connection) -> Result<Snapshot, Failure> {
        let mut snapshot = Snapshot::default();
        // Even a read of nothing has a revision.
        let parts = if self.parts.is_empty() { &[&[] as &[Query]] } else { self.parts.as_slice() };
        for part in parts {
            let at = (snapshot.revision > 0).then_some(snapshot.revision);
            let operations = part.iter().map(|query| range(query, at)).collect::<Vec<_>>();
            let response = connection.txn(Txn::new().and_then(operations)).await?;
            if at.is_none() {
                snapshot.revision = revision_of(&response)?;
            }
            for (query, found) in part.iter().zip(gets(&response)?) {
                snapshot.results.push(documents(query, found));
            }
        }
        Ok(snapshot)
    }
}

/// The range of a query, at a revision or now.
fn range(query: &Query, at: Option<Revision>) -> TxnOp {
    let mut options = GetOptions::new().with_revision(at.unwrap_or(0));
    let path = match query {
        // `Reading::new` has seen that it can be spelled.
        Query::Key(key) => key.path().unwrap_or_default(),
        Query::Prefix(prefix) => {
            options = options.with_range(end_of(prefix));
            prefix.path()
        }
        Query::Keys(prefix) => {
            options = options.with_range(end_of(prefix)).with_keys_only();
            prefix.path()
        }
    };
    TxnOp::get(path, Some(options))
}

/// The end of a prefix's range.
pub(super) fn end_of(prefix: &Prefix) -> Vec<u8> {
    // Every prefix begins with a slash, so there is always something behind it.
    successor(prefix.path().as_bytes()).unwrap_or_default()
}

fn documents(query: &Query, mut found: GetResponse) -> Vec<Document> {
    let prefix = match query {
        Query::Key(key) => {
            let first = found.take_kvs().into_iter().next();
            return first.map(|kv| document(key.clone(), kv)).into_iter().collect();
        }
        Query::Prefix(prefix) | Query::Keys(prefix) => prefix,
    };
    let documents = found.take_kvs().into_iter().filter_map(|kv| {
        let key = kv.key_str().ok().and_then(Key::parse)?;
        prefix.contains(&key).then(|| document(key, kv))
    });
    documents.collect()
}

fn document(key: Key, kv: KeyValue) -> Document {
    let revision = kv.mod_revision();
    Document { key, value: kv.into_key_value().1, revision }
}

/// The transaction of a commit. Where a guard fails, it answers all documents.
pub(super) fn commit(changes: &[Change], paths: &[String]) -> Txn {
    let pairs = || changes.iter().zip(paths);
    let compares = pairs().filter_map(|(change, path)| match change.guard {
        Guard::Any => None,
        Guard::Absent => Some(Compare::version(path.as_str(), CompareOp::Equal, 0)),
        Guard::Revision(revision) => {
            Some(Compare::mod_revision(path.as_str(), CompareOp::Equal, revision))
        }
    });
    let operations = pairs().filter_map(|(change, path)| match &change.action {
        Action::Check => None,
        Action::Put(value) => Some(TxnOp::put(path.as_str(), value.as_slice(), None)),
        Action::Delete => Some(TxnOp::delete(path.as_str(), None)),
    });
    Txn::new()
        .when(compares.collect::<Vec<_>>())
        .and_then(operations.collect::<Vec<_>>())
        .or_else(paths.iter().map(|path| TxnOp::get(path.as_str(), None)).collect::<Vec<_>>())
}

/// What a commit's answer says.
pub(super) fn committed(response: &TxnResponse, changes: &[Change]) -> Result<Committed, Failure> {
    if response.succeeded() {
        return Ok(Committed::Done(revision_of(response)?));
    }
    Ok(Committed::Conflict(state(response)?.documents(changes)))
}

/// A read of exactly these keys, now or as they were at a revision.
pub(super) fn get_all(paths: &[String], at: Option<Revision>) -> Txn {
    let get = |path: &String| {
        let options = GetOptions::new().with_revision(at.unwrap_or(0));
        TxnOp::get(path.as_str(), Some(options))
    };
    Txn::new().and_then(paths.iter().map(get).collect::<Vec<_>>())
}

/// What such a read found.
pub(super) fn state(response: &TxnResponse) -> Result<State, Failure> {
    let present = gets(response)?.into_iter().map(|mut found| {
        let kv = found.take_kvs().into_iter().next()?;
        let (created, modified) = (kv.create_revision(), kv.mod_revision());
        Some(Present { value: kv.into_key_value().1, created, modified })
    });
    Ok(State { revision: revision_of(response)?, present: present.collect() })
}

fn gets(response: &TxnResponse) -> Result<Vec<GetResponse>, Failure> {
    let ranges = response.op_responses().into_iter().map(|operation| match operation {
        TxnOpResponse::Get(found) => Ok(found),
        _ => Err(Failure::nonsense("an answer of another kind than the question's")),
    });
    ranges.collect()
}

fn revision_of(response: &TxnResponse) -> Result<Revision, Failure> {
    response
        .header()
        .map(etcd_client::ResponseHeader::revision)
        .ok_or_else(|| Failure::nonsense("an answer without a header"))
}
