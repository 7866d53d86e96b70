// Opens a report in Chromium as a person would, and prints what was seen as JSON.
//   node report_page.cjs PLAYWRIGHT_CORE URL PICTURES
const [core, url, pictures] = process.argv.slice(2);
const { chromium } = require(core);

(async () => {
  const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  const complaints = [];
  const requests = [];
  const open = async (address, options) => {
    const page = await (await browser.newContext(options)).newPage();
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(address);
    return page;
  };
  const page = await open(url, { viewport: { width: 1280, height: 900 } });
  const now = () => page.locator('#axis-now').textContent();
  const lines = () => page.locator('#axis-lines .line').evaluateAll((all) => all.map((one) => one.querySelector('.text').textContent));
  const current = () => page.locator('#axis-lines .line.now .text').textContent();
  const seen = {};
  seen.first = await now();
  seen.firstLine = await current();
  seen.marked = await page.locator('#axis-lines .line.marked').count();
  await page.keyboard.press('n');
  seen.afterNext = await now();
  await page.keyboard.press('j');
  seen.afterLine = await now();
  await page.keyboard.press('c');
  await page.keyboard.press('+');
  seen.zoomed = await page.evaluate(() => Axis.view[1] - Axis.view[0] < Axis.data.end);
  await page.keyboard.press('0');
  await page.fill('#axis-filter', 'could not connect');
  seen.filtered = await lines();
  await page.fill('#axis-filter', '');
  await page.selectOption('#axis-level', '3');
  seen.errors = await lines();
  await page.selectOption('#axis-level', 'story');
  seen.story = await lines();
  await page.selectOption('#axis-level', '1');
  await page.selectOption('#axis-machine', { label: 'client' });
  seen.ofClient = await page.locator('#axis-lines .line .machine').evaluateAll((all) => [...new Set(all.map((one) => one.textContent))]);
  await page.selectOption('#axis-machine', '');
  const box = await page.locator('#axis-canvas').boundingBox();
  await page.mouse.click(box.x + box.width * 0.5, box.y + 40);
  seen.clicked = await page.evaluate(() => Axis.cursor);
  await page.waitForTimeout(300); // the address is written a little later
  seen.address = await page.evaluate(() => location.hash);
  seen.screens = await page.locator('#axis-screens figcaption').allTextContents();
  await page.locator('.failure a.second').first().click();
  seen.fromFailure = await now();
  const linked = await open(`${url}#t=60.600`, { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: 'dark' });
  seen.linked = await linked.locator('#axis-now').textContent();
  seen.linkedLine = await linked.locator('#axis-lines .line.now .text').textContent();
  seen.tooWide = await linked.evaluate(() => document.documentElement.scrollWidth > innerWidth);
  if (pictures) {
    await page.screenshot({ path: `${pictures}/light.png`, fullPage: true });
    await linked.screenshot({ path: `${pictures}/phone.png` });
    const dark = await open(url, { viewport: { width: 1280, height: 1100 }, colorScheme: 'dark' });
    await dark.locator('#axis').scrollIntoViewIfNeeded();
    await dark.screenshot({ path: `${pictures}/dark.png` });
  }
  await page.emulateMedia({ media: 'print' });
  seen.printed = await page.evaluate(() => ['axis', 'timeline'].map((id) => getComputedStyle(document.getElementById(id)).display));
  await browser.close();
  console.log(JSON.stringify({ ...seen, complaints, foreign: requests.filter((one) => !/^(file|data):/.test(one)) }));
})().catch((error) => {
  console.error(error);
  process.exit(1);
});
