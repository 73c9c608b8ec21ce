//! Release sets: pushed, signed by two keys, found again, and what others put beside them.

use edge_signature::set::{Reason, ReleaseSet, SetKeys, SetProof, SetRefusal, manifest};
use edge_signature::{Digest, Draft, Error, Format, Keys, Manifest};
use serde_json::json;

use crate::images::{BOTH, OCI, impatient, put_image, registry, wait};
use crate::keys::{Team, team};
use crate::server::{Delivery, Reply, Server};

fn set(number: u64) -> ReleaseSet {
    let mut set = ReleaseSet::new("revoked", number, 1_798_761_600, &["*"]);
    set.revoked = vec![Digest::of(b"revoked")];
    set
}

fn trust(teams: &[&Team], threshold: usize) -> SetKeys {
    let pems: Vec<_> = teams.iter().map(|team| team.public.clone()).collect();
    let keys = Keys::from_pems(&pems).unwrap();
    SetKeys { keys, threshold }
}

async fn sign(us: &Team, server: &Server, set: &ReleaseSet, format: Format) {
    let registry = registry(server);
    let manifest = manifest(&set.to_bytes().unwrap());
    let draft = Draft::of_set(format, registry.repository(), &manifest.digest, set);
    let signed = us.complete(draft);
    let pushed = registry.push_signature(&us.keys, &manifest, &signed).await;
    pushed.unwrap();
}

#[test]
fn a_set_of_two_keys_is_found_and_verified_again() {
    wait(async {
        for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (server, a, b) = (Server::start(), team(), team());
            let client = registry(&server);
            let digest = client.push_set(&set(7)).await.unwrap();
            assert_eq!(client.push_set(&set(7)).await.unwrap(), digest);
            let tagged = server.manifest("set.revoked.7").unwrap();
            assert_eq!(Digest::of(&tagged), digest);
            let trusted = trust(&[&a, &b], 2);
            let error = client.set(&trusted, &digest).await.unwrap_err();
            assert!(matches!(error, Error::Unsigned(_)), "{error}");
            sign(&a, &server, &set(7), BOTH[first]).await;
            let error = client.set(&trusted, &digest).await.unwrap_err();
            assert!(error.to_string().contains("1 of 2"), "{error}");
            sign(&b, &server, &set(7), BOTH[second]).await;
            sign(&team(), &server, &set(7), BOTH[second]).await;
            let (verified, proof) = client.set(&trusted, &digest).await.unwrap();
            assert_eq!((&verified.set, verified.signers.len()), (&set(7), 2));
            assert_eq!(proof.signatures().len(), 2);
            let proof = SetProof::parse(&proof.to_bytes()).unwrap();
            let again = proof.verify(&trusted, client.repository()).unwrap();
            assert_eq!(again, verified);
        }
    });
}

#[test]
fn a_number_is_released_once() {
    wait(async {
        let server = Server::start();
        let client = registry(&server);
        client.push_set(&set(7)).await.unwrap();
        let mut other = set(7);
        other.expires += 1;
        let error = client.push_set(&other).await.unwrap_err();
        assert!(error.to_string().contains("a higher number"), "{error}");
    });
}

#[test]
fn a_set_is_requested_once_and_signatures_in_order() {
    wait(async {
        let (server, us) = (Server::start(), team());
        let client = registry(&server);
        let digest = client.push_set(&set(7)).await.unwrap();
        sign(&us, &server, &set(7), Format::V2).await;
        server.requests();
        client.set(&trust(&[&us], 1), &digest).await.unwrap();
        // Manifest, document, list of signatures, payload: no request for v3.
        assert_eq!(server.requests().len(), 4);
    });
}

#[test]
fn another_artifact_or_a_lying_registry_is_refused() {
    wait(async {
        let (server, us) = (Server::start(), team());
        let client = registry(&server);
        let trusted = trust(&[&us], 1);
        let image = put_image(&server, "hello-v1");
        let error = client.set(&trusted, &image).await.unwrap_err();
        assert_eq!(SetRefusal::of(&error).unwrap().reason, Reason::Form);
        let digest = client.push_set(&set(7)).await.unwrap();
        sign(&us, &server, &set(7), Format::V2).await;
        let document = Digest::of(&set(7).to_bytes().unwrap());
        let other = set(8).to_bytes().unwrap();
        for (place, reply) in [
            (digest.to_string(), manifest(&other).bytes),
            (document.to_string(), other.clone()),
            (document.to_string(), Vec::new()),
        ] {
            server.hook(move |request| {
                let lies = request.method == "GET" && request.path.contains(&place);
                lies.then(|| Reply::new(200, reply.clone()))
            });
            assert!(client.set(&trusted, &digest).await.is_err());
        }
        server.hook(|_| None);
        client.set(&trusted, &digest).await.unwrap();
        for status in [401, 403, 404, 429, 500, 503] {
            server.hook(move |_| Some(Reply::new(status, "{}")));
            let error = client.set(&trusted, &digest).await.unwrap_err();
            // An answer of the registry is no word about the set.
            assert_eq!(SetRefusal::of(&error), None, "{status}: {error}");
        }
        for delivery in [|| Delivery::Silent, || Delivery::Drip, || Delivery::Cut] {
            server.hook(move |_| Some(Reply::delivered(delivery())));
            let error = impatient(&server).set(&trusted, &digest).await.unwrap_err();
            assert_eq!(SetRefusal::of(&error), None, "{error}");
        }
    });
}

#[test]
fn a_large_document_is_not_downloaded() {
    wait(async {
        let (server, us) = (Server::start(), team());
        let mut large: serde_json::Value = serde_json::from_slice(&manifest(b"{}").bytes).unwrap();
        large["layers"][0]["size"] = json!(300_000);
        let large = Manifest::new(large.to_string().into_bytes());
        let digest = server.put_manifest("set.barn.1", OCI, &large.bytes);
        server.requests();
        let client = registry(&server);
        let error = client.set(&trust(&[&us], 1), &digest).await.unwrap_err();
        assert!(error.to_string().contains("more than 262144"), "{error}");
        assert_eq!(server.requests().len(), 1);
    });
}
