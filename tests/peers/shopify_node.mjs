// Signs and verifies webhooks with @shopify/shopify-api. The file named on the command line has on
// each line a JSON object {body, signature, secret}; each line of stdout is the library's own
// signature of the body, and whether it takes the given one.
import {createReadStream} from 'node:fs';
import {createInterface} from 'node:readline';
import '@shopify/shopify-api/adapters/node';
import {ApiVersion, LogSeverity, shopifyApi} from '@shopify/shopify-api';
import {HashFormat, createSHA256HMAC} from '@shopify/shopify-api/runtime';

const apis = new Map();

function apiOf(secret) {
  if (!apis.has(secret)) {
    apis.set(
      secret,
      shopifyApi({
        apiKey: 'key',
        apiSecretKey: secret,
        apiVersion: Object.values(ApiVersion)[0],
        hostName: 'sluice.example',
        isEmbeddedApp: false,
        logger: {level: LogSeverity.Error, log: async () => {}},
      }),
    );
  }
  return apis.get(secret);
}

for await (const line of createInterface({input: createReadStream(process.argv[2])})) {
  const {body, signature, secret} = JSON.parse(line);
  const headers = {
    'X-Shopify-Hmac-Sha256': signature,
    'X-Shopify-Topic': 'orders/create',
    'X-Shopify-Shop-Domain': 'acme-tea.myshopify.com',
    'X-Shopify-API-Version': '2026-10',
    'X-Shopify-Webhook-Id': 'w-1',
  };
  const {valid} = await apiOf(secret).webhooks.validate({
    rawBody: body,
    rawRequest: {headers, method: 'POST', url: '/'},
    rawResponse: {},
  });
  const theirs = await createSHA256HMAC(secret, body, HashFormat.Base64);
  process.stdout.write(`${theirs} ${valid}\n`);
}
