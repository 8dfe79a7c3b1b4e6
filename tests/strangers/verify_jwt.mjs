// Verify the JWT of a registration with Node.js' own crypto, as a seller's software would: no library, and no code of
// ours. Arguments: the JWT and the PEM of its key version. Prints header and claims, or fails.

import { constants, createPublicKey, verify } from "node:crypto";

const [token, pem] = process.argv.slice(-2);
const [head, claims, signature] = token.split(".");
const key = { key: createPublicKey(pem), padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };
if (!verify("sha256", Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, "base64url"))) {
  console.error("the signature is not of this key");
  process.exit(1);
}
const read = (part) => JSON.parse(Buffer.from(part, "base64url").toString("utf8"));
console.log(JSON.stringify({ header: read(head), claims: read(claims) }));
