//! Section 17.9.

use tertulia::chat::{
    ControlFromBroker, ControlFromNode, DeviceEntry, ErrandFromBroker, ErrandFromNode, Grant,
    LINK_LASTS_MAX_MS, LinkMark, LinkSecret, Proof, Refusal,
};

use super::{BEGINNING_MS, array, broker, node, vector};

fn assert_from_node(name: &str, errand: ErrandFromNode) {
    let message = ControlFromNode::Errand(errand);
    assert_eq!(message.encode(), vector(name), "{name}");
    assert_eq!(ControlFromNode::decode(&vector(name)), Ok(message));
}

fn assert_from_broker(name: &str, answer: ErrandFromBroker) {
    let message = ControlFromBroker::Errand(answer);
    assert_eq!(message.encode(), vector(name), "{name}");
    assert_eq!(ControlFromBroker::decode(&vector(name)), Ok(message));
}

/// DEV-3, DEV-4, DEV-5.
#[test]
fn linking_agrees() {
    let secret = LinkSecret::new(array("link_secret"));
    let (node, broker) = (node(), broker().public());
    let mark = LinkMark(array("link_mark"));
    assert_eq!(secret.mark(), mark);
    let lasts_ms = LINK_LASTS_MAX_MS;
    assert_from_node("link_offer", ErrandFromNode::LinkOffer { mark, lasts_ms });

    let proof = Proof(array("ask_proof"));
    let device = node.device();
    assert_eq!(secret.prove_asking(&broker, &device), proof);
    assert_from_node("link_ask", ErrandFromNode::LinkAsk { mark, proof });
    assert_from_broker("link_asked", ErrandFromBroker::LinkAsked { device, proof });

    let account = node.account();
    let proof = Proof(array("grant_proof"));
    let granting = secret.prove_granting(&broker, &device, &account, "ada");
    assert_eq!(granting, proof);
    let grant = Grant {
        certificate: array("certificate"),
        proof,
        name: "ada".to_owned(),
    };
    assert_from_node("link_grant", ErrandFromNode::LinkGrant(grant.clone()));
    let granted = ErrandFromBroker::LinkGranted { account, grant };
    assert_from_broker("link_granted", granted);
    let refused = ErrandFromBroker::Refused {
        code: Refusal::LinkUnknown,
        reason: "no".to_owned(),
    };
    assert_from_broker("errand_refused", refused);
}

/// DEV-7, DEV-8.
#[test]
fn revoking_agrees() {
    let (node, broker) = (node(), broker().public());
    let (device, signature) = (node.device(), array("revocation"));
    assert_eq!(node.revoke(&broker, &device), Some(signature));
    assert!(node.account().revokes(&broker, &device, &signature));
    let revoke = ErrandFromNode::RevokeDevice { device, signature };
    assert_from_node("revoke_device", revoke);
    let entry = DeviceEntry {
        device,
        is_linked: true,
        is_here: false,
        first_seen_ms: BEGINNING_MS,
        last_seen_ms: BEGINNING_MS + 5_000,
        revoked_at_ms: Some(BEGINNING_MS + 10_000),
    };
    assert_from_broker("devices", ErrandFromBroker::Devices(vec![entry]));
}
