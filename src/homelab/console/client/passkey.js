// Passkeys: make one, sign in with one. What is said to the lab is JSON with binary values as base64url.
"use strict";

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function post(path, body) {
  const answer = await fetch(path, {
    method: "POST", headers: { "Content-Type": "application/json", "X-Homelab": "1" }, body: JSON.stringify(body),
  });
  const told = await answer.json();
  if (!answer.ok) throw new Error([told.error.message, told.error.hint].filter(Boolean).join(". "));
  return told;
}

function answered(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return { id: credential.id, rawId: toText(credential.rawId), type: credential.type, response, clientExtensionResults: {} };
}

class Passkey extends HTMLElement {
  connectedCallback() {
    this.button = this.querySelector("button");
    this.says = this.querySelector("[role=status]");
    if (!window.PublicKeyCredential) return;
    this.button.disabled = false;
    this.says.textContent = "";
    this.button.addEventListener("click", () => this.go());
  }

  async go() {
    this.button.disabled = true;
    try {
      await this.act();
    } catch (error) {
      this.says.textContent = error.name === "NotAllowedError" ? "Nothing was done: it was left, or took too long." : error.message;
    }
    this.button.disabled = false;
  }
}

customElements.define("passkey-add", class extends Passkey {
  async act() {
    const name = this.querySelector("input").value.trim();
    if (!name) throw new Error("Give it a name first.");
    const { options } = await post("/api/v1/passkeys/options", {});
    options.challenge = toBytes(options.challenge);
    options.user.id = toBytes(options.user.id);
    for (const known of options.excludeCredentials ?? []) known.id = toBytes(known.id);
    const credential = await navigator.credentials.create({ publicKey: options });
    await post("/api/v1/passkeys", { name, credential: answered(credential) });
    location.reload();
  }
});

customElements.define("passkey-sign-in", class extends Passkey {
  async act() {
    const { options } = await post("/api/v1/sign-in/passkey/options", {});
    options.challenge = toBytes(options.challenge);
    const credential = await navigator.credentials.get({ publicKey: options });
    await post("/api/v1/sign-in/passkey", { credential: answered(credential) });
    location.assign(this.dataset.back || "/");
  }
});
