//! The people that most stories need: a buyer and a seller who talk, and those who must hear nothing of it.

use anyhow::{Context, Result};
use chaffer_tests::{Person, Scene, Setup, Shop, Stack};
use serde_json::{Value, json};

/// A running stack with its people.
pub(crate) struct Cast {
    pub(crate) stack: Stack,
    pub(crate) shop: Shop,
    /// A customer.
    pub(crate) buyer: Person,
    /// Acts for the vendor `v1`.
    pub(crate) seller: Person,
    /// Another customer.
    pub(crate) outsider: Person,
    /// Acts for the vendor `v2`.
    pub(crate) rival: Person,
    /// An administrator who may manage messages.
    pub(crate) boss: Person,
    /// An administrator who may not.
    pub(crate) clerk: Person,
    /// An operator.
    pub(crate) helper: Person,
}

impl Cast {
    pub(crate) async fn new(scene: &Scene) -> Result<Self> {
        Self::on(Stack::start(scene).await?).await
    }

    pub(crate) async fn with(scene: &Scene, setup: Setup) -> Result<Self> {
        Self::on(setup.start(scene).await?).await
    }

    pub(crate) async fn on(stack: Stack) -> Result<Self> {
        let shop = stack.shop()?;
        for (id, name) in [("v1", "Vendor One"), ("v2", "Vendor Two")] {
            shop.vendor(id, vendor(name)).await?;
        }
        let admin = |id: &str| json!({"role": "vendor_admin", "name": "An admin", "vendor_id": id});
        let customer = |name: &str| json!({"role": "customer", "name": name});
        Ok(Self {
            buyer: shop.new_person("buyer", customer("Bea Buyer")).await?,
            seller: shop.new_person("seller", admin("v1")).await?,
            outsider: shop.new_person("outsider", customer("Otto")).await?,
            rival: shop.new_person("rival", admin("v2")).await?,
            boss: shop
                .new_person("boss", json!({"role": "admin", "name": "B", "manage_messages": true}))
                .await?,
            clerk: shop.new_person("clerk", json!({"role": "admin", "name": "C"})).await?,
            helper: shop.new_person("helper", json!({"role": "operator", "name": "H"})).await?,
            shop,
            stack,
        })
    }

    /// A thread of the buyer with the vendor `v1` about a product, without messages.
    pub(crate) async fn thread(&self, product: &str) -> Result<i64> {
        self.thread_of("buyer", product).await
    }

    /// The same for another customer.
    pub(crate) async fn thread_of(&self, customer: &str, id: &str) -> Result<i64> {
        let body = json!({"subject": product(id), "vendor_id": "v1"});
        let thread = self.shop.acting(customer).post("/v1/threads", body).await?.expect(201)?;
        id_of(&thread)
    }
}

pub(crate) fn vendor(name: &str) -> Value {
    json!({"name": name, "status": "active", "plan_includes_messaging": true})
}

pub(crate) fn product(id: &str) -> Value {
    let url = format!("https://shop.example/p/{id}");
    json!({"type": "product", "id": id, "title": format!("Product {id}"), "url": url})
}

pub(crate) fn id_of(thing: &Value) -> Result<i64> {
    thing["id"].as_i64().with_context(|| format!("no id: {thing}"))
}

/// The ids of a list's entries.
pub(crate) fn ids(list: &Value) -> Vec<i64> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["id"].as_i64()).collect()
}

/// The texts of a list of messages.
pub(crate) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|entry| entry["text"].as_str()).collect()
}
