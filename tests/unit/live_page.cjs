// Opens a served page and says, line by line, what becomes of it: the test writes into the run meanwhile.
//   node live_page.cjs PLAYWRIGHT_CORE URL
const [core, url] = process.argv.slice(2);
const { chromium } = require(core);

(async () => {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.log(`complaint ${error.message}`));
  page.on('console', (message) => message.type() === 'error' && console.log(`complaint ${message.text()}`));
  await page.goto(url);
  await page.waitForFunction(() => document.getElementById('axis-live').textContent === 'live');
  console.log(`title ${await page.title()}`);
  console.log(`lanes ${await page.evaluate(() => Axis.data.lanes.map((lane) => lane.label).join(' '))}`);
  await page.waitForFunction(() => Axis.data.lines.x.some((line) => line.includes('the first news')), null, { polling: 20 });
  console.log(`seen ${Date.now()}`);
  await page.waitForFunction(() => document.getElementById('axis-live').textContent === 'complete');
  console.log(`heading ${await page.locator('h1').textContent()}`);
  await browser.close();
})().catch((error) => {
  console.log(`complaint ${error.message}`);
  process.exit(1);
});
