// verify.js BUNDLE KEY: exits 0 if @sigstore/verify accepts the bundle by the
// public key, 1 if not. Packages are found by NODE_PATH.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity } = require('@sigstore/verify');

const [bundleFile, keyFile] = process.argv.slice(2);
const publicKey = crypto.createPublicKey(fs.readFileSync(keyFile));
const der = publicKey.export({ type: 'spki', format: 'der' });
const hint = crypto.createHash('sha256').update(der).digest('base64');

const trust = {
  certificateAuthorities: [],
  timestampAuthorities: [],
  tlogs: [],
  ctlogs: [],
  publicKey: (asked) => {
    if (asked !== hint) throw new Error(`the hint ${asked} is not ${hint}`);
    return { publicKey, validFor: () => true };
  },
};
// A key signs here, no certificate: no log and no time authority take part.
const none = { tlogThreshold: 0, ctlogThreshold: 0, tsaThreshold: 0, timestampThreshold: 0 };

try {
  const bundle = bundleFromJSON(JSON.parse(fs.readFileSync(bundleFile, 'utf8')));
  new Verifier(trust, none).verify(toSignedEntity(bundle));
} catch (error) {
  console.error(`${error.code ?? error.name}: ${error.message}`);
  process.exit(1);
}
